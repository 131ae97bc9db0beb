//! Plans as JSON text.
//!
//! A text says what was planned and what the planner chose. Whoever reads it plans again and compares, so a
//! text is never the source of numbers that a kernel is told: one of another release, or one that somebody
//! has changed, is refused.

use serde::de::DeserializeOwned;
use serde::Serialize;
pub(crate) use serde_json::Value;

use crate::{Error, ErrorKind, Result, Soc};

/// Of the text. It changes when a field comes, goes or gets another meaning.
const VERSION: u32 = 2;

/// A plan that can be written.
pub(crate) trait Recorded: Sized {
    /// Name of the operator in texts.
    const OPERATOR: &'static str;
    /// What is planned. Refuses fields that it does not know.
    type Problem: Serialize + DeserializeOwned;
    /// What the planner chose, for readers of the text.
    type Chosen: Serialize;

    fn problem(&self) -> &Self::Problem;

    fn soc(&self) -> &Soc;

    fn chosen(&self) -> Result<Self::Chosen>;

    /// Plans the problem again. `chosen` is that of the text; only what a caller may choose is taken from it.
    fn plan(problem: &Self::Problem, chosen: Option<&Value>, soc: &Soc) -> Result<Self>;
}

/// Gives a plan that is [`Recorded`] its two methods. The module has a function `plan`.
macro_rules! json_of {
    ($plan:ty) => {
        impl $plan {
            /// The plan as one line of JSON: `version`, `operator`, `soc`, `problem`, and `chosen`, what the
            /// planner chose.
            ///
            /// # Errors
            /// `Internal`: a defect of this crate.
            pub fn to_json(&self) -> $crate::Result<String> {
                $crate::record::to_json(self)
            }

            /// Reads what [`Self::to_json`] wrote: plans its problem, and compares.
            ///
            /// # Errors
            /// `InvalidArgument` for text that is something else, has another version or SoC, lacks a field,
            /// or has one that is unknown or not what planning makes of the problem; what planning refuses.
            pub fn from_json(text: &str, soc: &$crate::Soc) -> $crate::Result<Self> {
                $crate::record::from_json(text, soc)
            }
        }
    };
}
pub(crate) use json_of;

/// The same for a plan that its problem alone decides: fields `problem` and `soc`, and a method `to_chosen`.
macro_rules! json_of_problem {
    ($plan:ident, $operator:literal, $problem:ty, $chosen:ty) => {
        $crate::record::json_of!($plan);

        impl $crate::record::Recorded for $plan {
            const OPERATOR: &'static str = $operator;
            type Problem = $problem;
            type Chosen = $chosen;

            fn problem(&self) -> &$problem {
                &self.problem
            }

            fn soc(&self) -> &$crate::Soc {
                &self.soc
            }

            fn chosen(&self) -> $crate::Result<$chosen> {
                self.to_chosen()
            }

            fn plan(
                problem: &$problem,
                _: Option<&$crate::record::Value>,
                soc: &$crate::Soc,
            ) -> $crate::Result<Self> {
                plan(problem, soc)
            }
        }
    };
}
pub(crate) use json_of_problem;

#[derive(Serialize)]
struct Text<'a, Problem, Chosen> {
    version: u32,
    operator: &'a str,
    soc: &'a str,
    problem: &'a Problem,
    chosen: Chosen,
}

/// The plan as one line.
pub(crate) fn to_json<P: Recorded>(plan: &P) -> Result<String> {
    let (problem, chosen) = (plan.problem(), plan.chosen()?);
    let text = Text { version: VERSION, operator: P::OPERATOR, soc: &plan.soc().name, problem, chosen };
    serde_json::to_string(&text).map_err(|e| Error::new(ErrorKind::Internal, format!("plan as JSON: {e}")))
}

/// Plans what a text says, and refuses the text unless it is that of the plan.
pub(crate) fn from_json<P: Recorded>(text: &str, soc: &Soc) -> Result<P> {
    let refusal = |why: String| Error::invalid(format!("{} plan as JSON: {why}", P::OPERATOR));
    let given: Value = serde_json::from_str(text).map_err(|e| refusal(e.to_string()))?;
    // Before all else: a text of another version may have other fields.
    for (name, wanted) in
        [("version", Value::from(VERSION)), ("operator", P::OPERATOR.into()), ("soc", (&*soc.name).into())]
    {
        difference(name, given.get(name), &wanted).map_or(Ok(()), |why| Err(refusal(why)))?;
    }
    let problem = given.get("problem").cloned().unwrap_or_default();
    let problem = serde_json::from_value(problem).map_err(|e| refusal(format!("problem: {e}")))?;
    let plan = P::plan(&problem, given.get("chosen"), soc)?;
    // Through the text, as the given one came: numbers are then written alike.
    let own: Value = serde_json::from_str(&to_json(&plan)?).map_err(|e| refusal(e.to_string()))?;
    // What was planned before what was chosen for it.
    let other = difference("problem", given.get("problem"), &own["problem"]);
    other.or_else(|| difference("", Some(&given), &own)).map_or(Ok(plan), |why| Err(refusal(why)))
}

/// The first field of a text that is not that of the plan.
fn difference(name: &str, given: Option<&Value>, own: &Value) -> Option<String> {
    let Some(given) = given else { return Some(format!("{name} is missing, {own} wanted")) };
    let (Value::Object(fields), Value::Object(own_fields)) = (given, own) else {
        return (given != own).then(|| format!("{name} = {given} given, {own} wanted"));
    };
    let at = |field: &str| if name.is_empty() { field.to_owned() } else { format!("{name}.{field}") };
    let unknown = fields.keys().find(|field| !own_fields.contains_key(*field));
    if let Some(field) = unknown {
        return Some(format!("{} given, no such field wanted", at(field)));
    }
    own_fields.iter().find_map(|(field, own)| difference(&at(field), fields.get(field), own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::{KvLayout, Mask, Plan, Problem};
    use crate::{append, attention, serving, DType};

    fn soc() -> &'static Soc {
        Soc::by_name("Ascend910B2").unwrap()
    }

    fn problem() -> Problem {
        let kv = KvLayout::paged(128, 200).with_heads_first();
        Problem::packed(DType::Bf16, [300, 32, 128], [4, 100], 4096, kv)
            .with_num_heads_k(8)
            .with_mask(Mask::Window { left: Some(100), right: None })
            .with_softmax_scale(0.1)
            .with_lse()
    }

    #[test]
    fn a_plan_comes_back_as_it_was() {
        let padded = Problem::new(DType::F16, [3, 1, 4, 64], 100, KvLayout::padded());
        for problem in [problem(), padded] {
            let plan = serving::plan(&problem, soc()).unwrap();
            assert_eq!(Plan::from_json(&plan.to_json().unwrap(), soc()).unwrap(), plan);
            let of_append = append::Problem::new(40, &problem).with_place_type(append::PlaceType::I64);
            let plan = append::plan(&of_append, soc()).unwrap();
            assert_eq!(append::Plan::from_json(&plan.to_json().unwrap(), soc()).unwrap(), plan);
            let rotary = append::Rotary::new(append::Pairing::Adjacent, 64, 100).with_q();
            let plan = append::plan(&of_append.with_rotary(rotary), soc()).unwrap();
            let text = plan.to_json().unwrap();
            assert!(text.contains(r#""kernel":"fa_kv_append_rotary_"#), "{text}");
            assert_eq!(append::Plan::from_json(&text, soc()).unwrap(), plan);
        }
    }

    #[test]
    fn a_plan_of_attention_comes_back_with_the_tiling_of_its_text() {
        let problem = attention::Problem::new(DType::F16, [2, 300, 8, 128])
            .with_num_heads_k(2)
            .with_mask(Mask::Causal)
            .with_softmax_scale(0.3)
            .with_shifted_keys()
            .with_score_dtype(DType::F16);
        let planned = attention::plan(&problem, soc()).unwrap();
        let text = planned.to_json().unwrap();
        assert_eq!(attention::Plan::from_json(&text, soc()).unwrap(), planned);
        let other = planned.candidates().iter().map(|estimated| estimated.candidate);
        let other = other.into_iter().find(|&candidate| candidate != planned.chosen()).unwrap();
        let planned = attention::plan_with(&problem, soc(), other).unwrap();
        let again = attention::Plan::from_json(&planned.to_json().unwrap(), soc()).unwrap();
        assert_eq!((again.chosen(), &again), (other, &planned));
        let planned = planned.part(1..3).unwrap().with_whole_items();
        let text = planned.to_json().unwrap();
        assert_eq!(attention::Plan::from_json(&text, soc()).unwrap(), planned, "{text}");
        // A tiling that cannot be used, none, and one that is none.
        let stages = format!("\"num_stages\":{}", planned.chosen().num_stages);
        for (from, to, why) in [
            (&*stages, "\"num_stages\":0", "num_stages"),
            (&*stages, "\"num_stages\":-1", "chosen: invalid value"),
            ("\"candidate\"", "\"tiling\"", "chosen: missing field `candidate`"),
            ("\"items\":[1,3]", "\"items\":[1,1]", "items = 1..1 given"),
            ("\"tail_parts\":1", "\"tail_parts\":3", "chosen.num_cores = 2 given"),
        ] {
            let text = planned.to_json().unwrap();
            let error =
                attention::Plan::from_json(&text.replacen(from, to, 1), soc()).unwrap_err().to_string();
            assert!(error.contains(why), "{why:?} in {error}");
        }
    }

    #[test]
    fn the_text_begins_with_version_operator_and_soc() {
        let text = serving::plan(&problem(), soc()).unwrap().to_json().unwrap();
        let start =
            r#"{"version":2,"operator":"serving","soc":"Ascend910B2","problem":{"spec":{"dtype":"bf16","#;
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.contains(r#""mask":{"window":{"left":100,"right":null}},"softmax_scale":0.1}"#),
            "{text}"
        );
    }

    #[test]
    fn a_text_that_is_not_that_of_its_plan_is_refused() {
        let text = serving::plan(&problem(), soc()).unwrap().to_json().unwrap();
        for (from, to, why) in [
            ("{\"version\":2,", "{\"version\":1,", "version = 1 given, 2 wanted"),
            ("{\"version\":2,", "{", "version is missing, 2 wanted"),
            ("\"serving\"", "\"append\"", "operator = \"append\" given, \"serving\" wanted"),
            ("910B2", "910B4", "soc = \"Ascend910B4\" given, \"Ascend910B2\" wanted"),
            ("\"rows\":100", "\"rows\":100,\"sinks\":1", "problem: unknown field `sinks`"),
            ("\"total_rows\":300,", "", "problem.total_rows is missing, null wanted"),
            ("\"want_lse\":true", "\"want_lse\":1", "problem: invalid type: integer `1`, expected a boolean"),
            ("\"chosen\":{", "\"chosen\":{\"speed\":1,", "chosen.speed given, no such field wanted"),
            ("\"block_n\":", "\"block_n\":1", "chosen.tasks.block_n = 1"),
            ("\"problem\":", "\"origin\":1,\"problem\":", "origin given, no such field wanted"),
            ("}", "", "EOF while parsing"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from:?}");
            let error = Plan::from_json(&changed, soc()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let text = error.to_string();
            assert!(text.starts_with("serving plan as JSON: ") && text.contains(why), "{why:?} in {text}");
        }
        // What the planner refuses is refused in its words.
        let error =
            Plan::from_json(&text.replacen("\"num_heads\":32", "\"num_heads\":31", 1), soc()).unwrap_err();
        assert!(error.to_string().contains("num_heads = 31 is not a multiple of num_heads_k = 8"), "{error}");
        for text in ["", "[]", "1", "{}", "null", "{\"version\":1e999}"] {
            assert_eq!(
                Plan::from_json(text, soc()).unwrap_err().kind(),
                ErrorKind::InvalidArgument,
                "{text}"
            );
        }
    }
}
