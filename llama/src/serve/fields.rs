//! The fields of a request: each is taken by its name, and what is left over is refused.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::problem::Problem;

/// Fields that change no answer.
const HARMLESS: [&str; 8] = [
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// Fields of what is not computed here, with the values that ask for none of it.
const NEUTRAL: [(&str, &str); 18] = [
    ("n", "1"),
    ("best_of", "1"),
    ("presence_penalty", "0"),
    ("frequency_penalty", "0"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("echo", "false"),
    ("suffix", r#""""#),
    ("logit_bias", "{}"),
    ("tools", "[]"),
    ("functions", "[]"),
    ("tool_choice", r#""none""#),
    ("tool_choice", r#""auto""#),
    ("function_call", r#""none""#),
    ("function_call", r#""auto""#),
    ("response_format", r#"{"type":"text"}"#),
    ("modalities", r#"["text"]"#),
    ("reasoning_effort", r#""none""#),
];

/// Fields that are still to be read.
#[derive(Debug)]
pub(super) struct Fields {
    fields: Map<String, Value>,
    /// What stands in front of their names in errors.
    prefix: String,
}

impl Fields {
    /// The fields of an object called `name`; that of a request has no name.
    pub(super) fn new(value: Value, name: &str) -> Result<Self, Problem> {
        match value {
            Value::Object(fields) if name.is_empty() => Ok(Self { fields, prefix: String::new() }),
            Value::Object(fields) => Ok(Self { fields, prefix: format!("{name}.") }),
            other => Err(Problem::value(if name.is_empty() { "body" } else { name }, &other, "an object")),
        }
    }

    /// The name of a field as errors tell it.
    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A field, unless it is not there or null.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, given: &Value, wanted: &str) -> Problem {
        Problem::value(&self.full_name(name), given, wanted)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, &other, "a string")),
        }
    }

    /// False where it is not there.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(name, &other, "true or false")),
        }
    }

    /// A number that `is_right`, which `wanted` says in words.
    pub(super) fn number(
        &mut self,
        name: &str,
        is_right: impl Fn(f32) -> bool,
        wanted: &str,
    ) -> Result<Option<f32>, Problem> {
        let Some(given) = self.take(name) else { return Ok(None) };
        #[allow(clippy::cast_possible_truncation, reason = "rounds to f32; what is too large is infinite")]
        let number = given.as_f64().map(|number| number as f32);
        match number.filter(|number| is_right(*number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, &given, wanted)),
        }
    }

    pub(super) fn whole(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(given) = self.take(name) else { return Ok(None) };
        match given.as_u64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, &given, &format!("{} to {}", range.start(), range.end()))),
        }
    }

    /// Takes the fields of a request that ask for nothing.
    pub(super) fn skip_neutral(&mut self) -> Result<(), Problem> {
        for name in HARMLESS {
            self.fields.remove(name);
        }
        for (name, _) in NEUTRAL {
            let Some(given) = self.take(name) else { continue };
            let neutral = NEUTRAL.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value);
            if !neutral.clone().any(|value| is_same(&given, value)) {
                let wanted: Vec<&str> = neutral.collect();
                return Err(self.wrong(name, &given, &wanted.join(" or ")));
            }
        }
        Ok(())
    }

    /// Refuses what is left over.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.fields.iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => {
                let name = self.full_name(name);
                let shown: String = name.chars().take(60).collect();
                Err(Problem::field(&shown, format!("{shown}: there is no such field, none wanted")))
            }
        }
    }
}

/// Is it the value with this text?
fn is_same(given: &Value, text: &str) -> bool {
    match given.as_f64() {
        // 1 and 1.0 are the same.
        Some(number) => text.parse() == Ok(number),
        None => serde_json::from_str(text).is_ok_and(|neutral: Value| neutral == *given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(outcome: Result<(), Problem>) -> String {
        outcome.unwrap_err().body()["error"]["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn values_that_ask_for_nothing_are_taken_and_others_refused() {
        let skip = |value| {
            let mut fields = Fields::new(value, "").unwrap();
            fields.skip_neutral().and_then(|()| fields.finish())
        };
        let neutral = json!({ "n": 1, "presence_penalty": 0.0, "frequency_penalty": null, "user": "u",
                              "tool_choice": "auto", "logit_bias": {}, "response_format": {"type": "text"},
                              "of_tomorrow": null });
        assert_eq!(skip(neutral), Ok(()));
        for (value, text) in [
            (json!({ "n": 2 }), "n = 2, 1 wanted"),
            (json!({ "n": "1" }), r#"n = "1", 1 wanted"#),
            (json!({ "frequency_penalty": 0.5 }), "frequency_penalty = 0.5, 0 wanted"),
            (json!({ "tool_choice": "required" }), r#"tool_choice = "required", "none" or "auto" wanted"#),
            (json!({ "logit_bias": {"5": 1} }), r#"logit_bias = {"5":1}, {} wanted"#),
            (json!({ "beams": 4 }), "beams: there is no such field, none wanted"),
        ] {
            assert_eq!(message(skip(value)), text);
        }
    }

    #[test]
    fn numbers_have_ranges() {
        let mut fields = Fields::new(json!({ "a": 7.5, "b": -1, "c": 2.5, "d": "x" }), "o").unwrap();
        let small = |x: f32| (0.0..=2.0).contains(&x);
        assert_eq!(message(fields.number("a", small, "0 to 2").map(|_| ())), "o.a = 7.5, 0 to 2 wanted");
        assert_eq!(message(fields.whole("b", 1..=3).map(|_| ())), "o.b = -1, 1 to 3 wanted");
        assert_eq!(message(fields.whole("c", 1..=3).map(|_| ())), "o.c = 2.5, 1 to 3 wanted");
        assert_eq!(message(fields.flag("d").map(|_| ())), r#"o.d = "x", true or false wanted"#);
        assert_eq!(fields.whole("e", 1..=3), Ok(None));
    }
}
