//! The figures that SoCs are made of: those of `cann.toml`, or others in their places.

use std::fmt;
use std::sync::OnceLock;

use toml::{Table, Value};

use crate::{Entry, File, Soc, Timing};

/// Timing, links and SoCs as TOML, each number with a name: `timing.control.launch_us`,
/// `soc.Ascend910B2.memory.hbm_gbps`.
#[derive(Clone, Debug, PartialEq)]
pub struct Description(Table);

/// What a description cannot have: the name of the figure, what was given and what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDescription(String);

impl fmt::Display for BadDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadDescription {}

/// Tables of `cann.toml` that a description may change. `core` is not among them: the kernels are built for
/// the memories of dav-c220.
const CHANGEABLE: [&str; 3] = ["timing", "links", "soc"];

/// How far a number may be from the one in `cann.toml`. Beyond that a simulation would not end.
const FACTOR: f64 = 1000.0;

/// Endings of names of times, which may be 0. No other number may: rates and sizes are divided by somewhere,
/// and what is not (`turn_cost`, `flag`, `queued_startup` and others) is kept above 0 like them.
const TIMES: [&str; 5] = ["latency", "_us", "issue", "head", "prologue"];

/// Most AI cores: twice those of the largest 910B, rounded up to a power of 2.
const MAX_CUBE_CORES: u32 = 64;
const MAX_L2_BYTES: u64 = 1 << 30;
const MAX_HBM_BYTES: u64 = 1 << 38;

type Result<T> = std::result::Result<T, BadDescription>;

fn bad<T>(text: impl Into<String>) -> Result<T> {
    Err(BadDescription(text.into()))
}

impl Description {
    /// That of `cann.toml`.
    pub fn built_in() -> Self {
        Self::reference().clone()
    }

    /// That of `cann.toml`, read once: what every other is compared with.
    pub(crate) fn reference() -> &'static Self {
        static BUILT_IN: OnceLock<Description> = OnceLock::new();
        BUILT_IN.get_or_init(|| {
            let read = toml::from_str(include_str!("../cann.toml"));
            Self(read.unwrap_or_else(|e| built_in_is_wrong(&e)))
        })
    }

    /// With the figures of `text` in the place of those that have the same names. `text` is TOML in the form
    /// of `cann.toml`, and needs only what differs: values in `timing` and `links`, and entries `[[soc]]`,
    /// each with a `name`. An entry with a new name describes a further SoC and needs every figure.
    ///
    /// # Errors
    /// Text that is not TOML; a name that `cann.toml` does not have; a value of another type, or more than
    /// 1000 times larger or smaller than its own there; a SoC that no dav-c220 core could belong to.
    pub fn with_changes(&self, text: &str) -> Result<Self> {
        let changes: Table = toml::from_str(text).map_err(|e| BadDescription(e.to_string()))?;
        let mut changed = self.clone();
        for (name, value) in changes {
            if !CHANGEABLE.contains(&name.as_str()) {
                return bad(format!("{name} given, only {} can be changed", CHANGEABLE.join(", ")));
            }
            match value {
                Value::Array(entries) if name == "soc" => changed.merge_socs(entries)?,
                value => merge(&mut changed.0, name.clone(), value, &name)?,
            }
        }
        changed.socs()?;
        Ok(changed)
    }

    fn merge_socs(&mut self, entries: Vec<Value>) -> Result<()> {
        for entry in entries {
            let Some(name) = entry.get("name").and_then(Value::as_str).map(str::to_owned) else {
                return bad("soc: an entry without a name given, name = \"...\" wanted in each");
            };
            let Some(Value::Array(own)) = self.0.get_mut("soc") else {
                return bad("soc: cann.toml has none");
            };
            let same = own.iter_mut().find(|own| own.get("name").and_then(Value::as_str) == Some(&name));
            match (same, entry) {
                (Some(Value::Table(own)), Value::Table(entry)) => {
                    let path = format!("soc.{name}");
                    entry.into_iter().try_for_each(|(key, value)| merge(own, key, value, &path))?;
                }
                (_, entry) => own.push(entry),
            }
        }
        Ok(())
    }

    /// Names of all numbers that can be set.
    pub fn numbers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in CHANGEABLE {
            if let Some(value) = self.0.get(name) {
                collect(value, name, &mut found);
            }
        }
        found.into_iter().map(|(name, _)| name).collect()
    }

    /// The number of that name.
    ///
    /// # Errors
    /// There is none; the text lists those whose names begin alike.
    pub fn number(&self, name: &str) -> Result<f64> {
        match self.find(name).and_then(number_of) {
            Some(number) => Ok(number),
            None => bad(self.unknown(name)),
        }
    }

    /// Sets a number, rounded where only whole ones are taken, and returns what was set.
    ///
    /// # Errors
    /// There is none of that name, or it cannot have this value.
    pub fn set(&mut self, name: &str, value: f64) -> Result<f64> {
        self.number(name)?;
        let before = self.clone();
        let mut why = BadDescription(String::new());
        // Only the structures of the crate know which figures are whole; integers are taken for any.
        #[expect(clippy::cast_possible_truncation, reason = "far from the ends of i64: the range is checked")]
        let whole = Value::Integer(value.round() as i64);
        for value in [Value::Float(value), whole] {
            if let Some(own) = self.find_mut(name) {
                *own = value.clone();
            }
            match self.socs() {
                Ok(_) => return Ok(number_of(&value).unwrap_or_default()),
                Err(e) => why = e,
            }
        }
        *self = before;
        Err(why)
    }

    /// The SoCs.
    ///
    /// # Errors
    /// As for [`Self::with_changes`].
    pub fn socs(&self) -> Result<Vec<Soc>> {
        self.check_numbers()?;
        self.build()
    }

    /// The SoCs of a description whose numbers are known to be near those of `cann.toml`.
    pub(crate) fn build(&self) -> Result<Vec<Soc>> {
        let file: File =
            Value::Table(self.0.clone()).try_into().map_err(|e| BadDescription(e.to_string()))?;
        if file.links.regimes.is_empty() {
            return bad("links.regimes = [] given, at least one wanted");
        }
        file.soc.iter().try_for_each(check_sizes)?;
        let soc = |e: Entry| Soc {
            name: e.name,
            cube_cores: e.cube_cores,
            vector_cores: e.vector_cores,
            clock_mhz: e.clock_mhz,
            l2_bytes: e.l2_bytes,
            hbm_bytes: e.hbm_bytes,
            core: file.core,
            links: file.links.clone(),
            timing: Timing { memory: e.memory, ..file.timing.clone() },
        };
        Ok(file.soc.into_iter().map(soc).collect())
    }

    /// Every number lies near the one that `cann.toml` has in its place.
    fn check_numbers(&self) -> Result<()> {
        let built_in = Self::reference();
        let usual = |name: &str| {
            let own = built_in.find(name).and_then(number_of);
            own.or_else(|| {
                // A new SoC is compared with the first one, a further regime of links with the first.
                let [head, _, rest] = name.splitn(3, '.').collect::<Vec<_>>().try_into().ok()?;
                let (name, (_, field)) = (first_of(built_in, head)?, ("", rest));
                let field = if head == "links" { field.rsplit('.').next()? } else { field };
                built_in.find(&format!("{name}.{field}")).and_then(number_of)
            })
        };
        let mut all = Vec::new();
        for name in CHANGEABLE {
            self.0.get(name).iter().for_each(|value| collect(value, name, &mut all));
        }
        for (name, number) in all {
            // What `cann.toml` does not have is refused by name.
            let Some(usual) = usual(&name) else { continue };
            let is_time = TIMES.iter().any(|ending| name.ends_with(ending));
            let least = if is_time || usual == 0.0 { 0.0 } else { usual / FACTOR };
            let most = usual.max(1.0) * FACTOR;
            if !(least..=most).contains(&number) {
                return bad(format!("{name} = {number} given, from {least} to {most} wanted"));
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let mut parts = name.split('.');
        let mut value = self.0.get(parts.next().filter(|first| CHANGEABLE.contains(first))?)?;
        for part in parts {
            value = match value {
                Value::Table(table) => table.get(part)?,
                Value::Array(entries) => entries.iter().enumerate().find(|(i, e)| is_called(e, *i, part))?.1,
                _ => return None,
            };
        }
        Some(value)
    }

    fn find_mut(&mut self, name: &str) -> Option<&mut Value> {
        let mut parts = name.split('.');
        let mut value = self.0.get_mut(parts.next()?)?;
        for part in parts {
            value = match value {
                Value::Table(table) => table.get_mut(part)?,
                Value::Array(entries) => {
                    entries.iter_mut().enumerate().find(|(i, e)| is_called(e, *i, part))?.1
                }
                _ => return None,
            };
        }
        Some(value)
    }

    fn unknown(&self, name: &str) -> String {
        let numbers = self.numbers();
        let mut start = name;
        loop {
            let alike: Vec<&str> =
                numbers.iter().filter(|n| n.starts_with(start)).map(String::as_str).collect();
            if !alike.is_empty() && !start.is_empty() {
                return format!("{name:?} is no number of cann.toml; there are {}", alike.join(", "));
            }
            match start.rfind('.') {
                Some(end) => start = &start[..end],
                None => {
                    let known = CHANGEABLE.join("., ");
                    return format!("{name:?} is no number of cann.toml; names begin with {known}.");
                }
            }
        }
    }
}

/// Name of the first entry of an array of `cann.toml`.
fn first_of(built_in: &Description, head: &str) -> Option<String> {
    match head {
        "links" => Some("links.regimes.0".to_owned()),
        "soc" => {
            let first = built_in.0.get("soc")?.get(0)?.get("name")?.as_str()?;
            Some(format!("soc.{first}"))
        }
        _ => None,
    }
}

/// Entries of an array are called by their names, or by their numbers.
fn is_called(entry: &Value, at: usize, name: &str) -> bool {
    match entry.get("name").and_then(Value::as_str) {
        Some(own) => own == name,
        None => at.to_string() == name,
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

fn collect(value: &Value, name: &str, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Table(table) => table.iter().for_each(|(key, v)| collect(v, &format!("{name}.{key}"), found)),
        Value::Array(entries) => {
            for (i, entry) in entries.iter().enumerate() {
                let own =
                    entry.get("name").and_then(Value::as_str).map_or_else(|| i.to_string(), str::to_owned);
                collect(entry, &format!("{name}.{own}"), found);
            }
        }
        other => found.extend(number_of(other).map(|number| (name.to_owned(), number))),
    }
}

/// Puts `value` into the place of what `table` has; tables are merged.
fn merge(table: &mut Table, key: String, value: Value, path: &str) -> Result<()> {
    let path = if path == key { key.clone() } else { format!("{path}.{key}") };
    match (table.get_mut(&key), value) {
        (Some(Value::Table(own)), Value::Table(new)) => {
            new.into_iter().try_for_each(|(key, value)| merge(own, key, value, &path))
        }
        (Some(own), value) => {
            let is_number = |value: &Value| value.is_integer() || value.is_float();
            if own.type_str() != value.type_str() && !(is_number(own) && is_number(&value)) {
                return bad(format!("{path}: {} given, {} wanted", value.type_str(), own.type_str()));
            }
            *own = value;
            Ok(())
        }
        // Fields that may be left out: those of a vector instruction whose table is there.
        (None, value) if key == "head" => {
            table.insert(key, value);
            Ok(())
        }
        (None, _) => {
            let known: Vec<&str> = table.keys().map(String::as_str).collect();
            bad(format!("{path} is not in cann.toml; known there: {}", known.join(", ")))
        }
    }
}

/// Sizes that belong together.
fn check_sizes(e: &Entry) -> Result<()> {
    let name = &e.name;
    if !(1..=MAX_CUBE_CORES).contains(&e.cube_cores) {
        return bad(format!("soc.{name}.cube_cores = {}, from 1 to {MAX_CUBE_CORES} wanted", e.cube_cores));
    }
    if e.vector_cores != 2 * e.cube_cores {
        return bad(format!(
            "soc.{name}.vector_cores = {}, twice cube_cores = {} wanted",
            e.vector_cores, e.cube_cores
        ));
    }
    for (field, value, most) in
        [("l2_bytes", e.l2_bytes, MAX_L2_BYTES), ("hbm_bytes", e.hbm_bytes, MAX_HBM_BYTES)]
    {
        if value > most {
            return bad(format!("soc.{name}.{field} = {value}, at most {most} wanted"));
        }
    }
    Ok(())
}

/// Only a defect of this crate leads here.
pub(crate) fn built_in_is_wrong(error: &dyn fmt::Display) -> ! {
    unreachable!("cann.toml is part of the crate and tested: {error}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failure here fails the test")]
mod tests;
