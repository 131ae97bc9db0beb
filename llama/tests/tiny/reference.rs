//! A Llama in f64, written from Touvron et al., LLaMA (arXiv 2302.13971), section 2.2, and what it refers to:
//! no code of the engine or of the operators. What other families have of their own: Qwen2 (arXiv
//! 2407.10671), Qwen3 (arXiv 2505.09388) and Mistral 7B (arXiv 2310.06825), section 2 of each.

use crate::model::{
    Kind, Tiny, DIM, EPSILON, HEADS, HEADS_K, HIDDEN, INTERMEDIATE, LAYERS, THETA, VOCABULARY, WINDOW,
};

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
            let mut out: Vec<Row> =
                normed.iter().map(|row| product(&weight(name), row, heads * DIM)).collect();
            if tiny.kind == Kind::Qwen2 {
                let bias = wide(tiny.values(&format!("model.layers.{layer}.{name}.bias")));
                out.iter_mut().for_each(|row| add(row, &bias));
            }
            out
        };
        let (q, k) = (project("self_attn.q_proj", HEADS), project("self_attn.k_proj", HEADS_K));
        let v = project("self_attn.v_proj", HEADS_K);
        let of_heads = |rows: Vec<Row>, name: &str| -> Vec<Row> {
            if tiny.kind != Kind::Qwen3 {
                return rows;
            }
            let weight = weight(name);
            let heads =
                |row: Row| row.chunks_exact(DIM).flat_map(|head| norm(&head.to_vec(), &weight)).collect();
            rows.into_iter().map(heads).collect()
        };
        let (q, k) = (of_heads(q, "self_attn.q_norm"), of_heads(k, "self_attn.k_norm"));
        let turned = |rows: Vec<Row>| -> Vec<Row> {
            rows.into_iter().enumerate().map(|(position, row)| rotate(&row, position)).collect()
        };
        let (q, k) = (turned(q), turned(k));
        for (at, row) in rows.iter_mut().enumerate() {
            let first = if tiny.kind == Kind::Mistral { (at + 1).saturating_sub(WINDOW) } else { 0 };
            let attended = attend(&q[at], &k[first..=at], &v[first..=at]);
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
    let scale = 1.0 / (dot(row, row) / row.len() as f64 + EPSILON).sqrt();
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
