//! A Llama in f64, written from Touvron et al., LLaMA (arXiv 2302.13971), section 2.2, and what it refers to:
//! no code of the engine or of the operators.

use crate::model::{Tiny, DIM, EPSILON, HEADS, HEADS_K, HIDDEN, INTERMEDIATE, LAYERS, THETA, VOCABULARY};

type Row = Vec<f64>;

/// Of every token.
pub(crate) fn logits(tiny: &Tiny, tokens: &[u32]) -> Vec<Row> {
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Row>();
    let embedding = wide(tiny.values("model.embed_tokens.weight"));
    let mut rows: Vec<Row> =
        tokens.iter().map(|token| embedding[*token as usize * HIDDEN..][..HIDDEN].to_vec()).collect();
    for layer in 0..LAYERS {
        let weight = |name: &str| wide(tiny.values(&format!("model.layers.{layer}.{name}.weight")));
        let normed: Vec<Row> = rows.iter().map(|row| norm(row, &weight("input_layernorm"))).collect();
        let project = |name: &str, heads: usize| -> Vec<Row> {
            normed.iter().map(|row| product(&weight(name), row, heads * DIM)).collect()
        };
        let (q, k) = (project("self_attn.q_proj", HEADS), project("self_attn.k_proj", HEADS_K));
        let v = project("self_attn.v_proj", HEADS_K);
        let turned = |rows: Vec<Row>| -> Vec<Row> {
            rows.into_iter().enumerate().map(|(position, row)| rotate(&row, position)).collect()
        };
        let (q, k) = (turned(q), turned(k));
        for (at, row) in rows.iter_mut().enumerate() {
            let attended = attend(&q[at], &k[..=at], &v[..=at]);
            add(row, &product(&weight("self_attn.o_proj"), &attended, HIDDEN));
            let normed = norm(row, &weight("post_attention_layernorm"));
            let gate = product(&weight("mlp.gate_proj"), &normed, INTERMEDIATE);
            let up = product(&weight("mlp.up_proj"), &normed, INTERMEDIATE);
            let both: Row = gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
            add(row, &product(&weight("mlp.down_proj"), &both, HIDDEN));
        }
    }
    let (last, head) = (wide(tiny.values("model.norm.weight")), wide(tiny.values("lm_head.weight")));
    rows.iter().map(|row| product(&head, &norm(row, &last), VOCABULARY)).collect()
}

fn add(to: &mut Row, more: &Row) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to += more);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn product(weight: &[f64], row: &Row, outputs: usize) -> Row {
    assert_eq!(weight.len(), outputs * row.len());
    weight.chunks_exact(row.len()).map(|weight| dot(weight, row)).collect()
}

fn norm(row: &Row, weight: &Row) -> Row {
    let scale = 1.0 / (dot(row, row) / HIDDEN as f64 + EPSILON).sqrt();
    row.iter().zip(weight).map(|(x, weight)| x * scale * weight).collect()
}

/// Element i of a head and i + half turn together.
fn rotate(row: &Row, position: usize) -> Row {
    let mut out = row.clone();
    for (head, own) in row.chunks_exact(DIM).zip(out.chunks_exact_mut(DIM)) {
        for i in 0..DIM / 2 {
            let angle = position as f64 * THETA.powf(-2.0 * i as f64 / DIM as f64);
            let (x, y) = (head[i], head[i + DIM / 2]);
            own[i] = x * angle.cos() - y * angle.sin();
            own[i + DIM / 2] = y * angle.cos() + x * angle.sin();
        }
    }
    out
}

/// One query row on all keys that it sees.
fn attend(q: &Row, keys: &[Row], values: &[Row]) -> Row {
    let mut out = Row::new();
    for head in 0..HEADS {
        let of_key = head / (HEADS / HEADS_K) * DIM..(head / (HEADS / HEADS_K) + 1) * DIM;
        let q = &q[head * DIM..(head + 1) * DIM];
        let weights: Row =
            keys.iter().map(|key| (dot(q, &key[of_key.clone()]) / (DIM as f64).sqrt()).exp()).collect();
        let all: f64 = weights.iter().sum();
        for element in of_key {
            let sum: f64 = weights.iter().zip(values).map(|(weight, value)| weight * value[element]).sum();
            out.push(sum / all);
        }
    }
    out
}
