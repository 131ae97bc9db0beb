//! Mutants of a kernel: its own text with one piece of synchronisation taken out.

#![allow(unsafe_code, reason = "loads the compiled mutants")]

use std::fmt::Write as _;
use std::fs;

use fastattention::runtime::{Device, Module};
use fastattention::{sim, ErrorKind, Result, Soc};
use fastattention_testkit::kernels::{ascendc, compile_with, Registration};

pub(crate) struct Mutant {
    pub(crate) what: String,
    pub(crate) text: String,
}

/// A kernel as one text without includes, up to its entry points, from files in the order of their includes.
pub(crate) fn kernel_text(sources: &[&str]) -> String {
    let mut text = String::new();
    for source in sources {
        let file = fs::read_to_string(ascendc().join(source)).unwrap();
        let body = file.split("\n#undef FA_").next().unwrap();
        for line in body.lines().filter(|l| !l.starts_with("#include") && !l.starts_with("#pragma")) {
            text += line;
            text.push('\n');
        }
    }
    text
}

/// Adds to `Ring` a way to take a buffer without waiting until it is free.
pub(crate) fn with_take(text: &str) -> String {
    let publish = "    __aicore__ inline void publish(";
    assert!(text.contains(publish));
    let take = "    __aicore__ inline uint32_t take() {\n        const uint32_t slot = next_;\n        \
                next_ = (next_ + 1) % kCount;\n        return slot;\n    }\n";
    text.replacen(publish, &format!("{take}{publish}"), 1)
}

/// Takes out every statement that `is_out` picks from the lines; the line keeps what stands before it (an
/// `if`).
pub(crate) fn without(text: &str, mut is_out: impl FnMut(&str) -> Option<usize>) -> (String, usize) {
    let mut out = String::new();
    let mut count = 0;
    for line in text.lines() {
        match is_out(line).filter(|_| !line.trim_start().starts_with("//")) {
            Some(at) => {
                count += 1;
                out += &line[..at];
                out += "{}\n";
            }
            None => {
                out += line;
                out.push('\n');
            }
        }
    }
    (out, count)
}

/// Where the statement starts that calls `method` of `name`, as it is or as a member of something.
pub(crate) fn call(line: &str, name: &str, method: &str) -> Option<usize> {
    let at = [" ", "."].iter().find_map(|before| line.find(&format!("{before}{name}.{method}(")))?;
    Some(line[..=at].rfind(' ')? + 1)
}

/// Without the full or the free edge of each ring: both its set and its wait, so that flags still balance.
/// `original` has [`with_take`].
pub(crate) fn without_ring_edges(original: &str, rings: &[&str]) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for name in rings {
        let (text, count) =
            without(original, |l| call(l, name, "publish").or_else(|| call(l, name, "await")));
        assert!(count >= 2, "{name}: {count} statements of its full edge");
        mutants.push(Mutant { what: format!("full edge of {name}"), text });
        let (text, count) = without(original, |l| call(l, name, "release"));
        assert!(count >= 1, "{name}: nothing releases");
        let mut taken = text.clone();
        for before in [" ", "."] {
            taken = taken.replace(&format!("{before}{name}.acquire("), &format!("{before}{name}.take("));
        }
        assert_ne!(taken, text, "{name}: nothing acquires");
        mutants.push(Mutant { what: format!("free edge of {name}"), text: taken });
    }
    mutants
}

/// One mutant for each cross-core flag, without its set and its wait.
pub(crate) fn without_cross_flags(original: &str, flags: &[&str]) -> Vec<Mutant> {
    let mutant = |flag: &&str| {
        let argument = format!("({flag});");
        let (text, count) =
            without(original, |l| l.contains(&argument).then(|| l.find("AscendC::CrossCore")).flatten());
        assert_eq!(count, 2, "{flag}: a set and a wait");
        Mutant { what: format!("cross-core flag {flag}"), text }
    };
    flags.iter().map(mutant).collect()
}

/// Without each barrier.
pub(crate) fn without_barriers(original: &str) -> Vec<Mutant> {
    let barrier = "AscendC::PipeBarrier<";
    let barriers =
        original.lines().filter(|l| l.contains(barrier) && !l.trim_start().starts_with("//")).count();
    let mut mutants = Vec::new();
    for number in 0..barriers {
        let mut seen = 0;
        let mut before = String::new();
        let mut context = String::new();
        let (text, _) = without(original, |l| {
            let at = l.find(barrier).filter(|_| !l.trim_start().starts_with("//"));
            if at.is_some() {
                seen += 1;
            }
            let hit = at.filter(|_| seen == number + 1 && context.is_empty());
            if hit.is_some() {
                context = format!("{} // after: {}", l.trim(), before.trim());
            }
            before = l.to_owned();
            hit
        });
        mutants.push(Mutant { what: format!("barrier {number}: {context}"), text });
    }
    mutants
}

/// A family of families.h, which is part of a mutant's text, and what of it a mutant is compiled as.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// As in `Registration`.
    pub(crate) kernel_type: &'static str,
    /// Without the namespace.
    pub(crate) functions: &'static [&'static str],
}

impl Family {
    /// Compiles mutants into one library, each in a namespace of its own. Few problems run on each, so that a
    /// compiler that optimises takes longer than it saves; what is issued is the same.
    pub(crate) fn compile(&self, mutants: &[(usize, &Mutant)]) -> Vec<u8> {
        let mut text = String::from("#include \"fa/entry.h\"\n");
        let mut names = Vec::new();
        for (index, mutant) in mutants {
            text += &mutant.text.replace("namespace fa {", &format!("namespace fa_{index} {{"));
            for (number, function) in self.functions.iter().enumerate() {
                let name = kernel_name(*index, number);
                write!(text, "\nFA_ENTRY({}, {name}, fa_{index}::{function})\n", self.name).unwrap();
                names.push(name);
            }
        }
        let params = format!("FA_{}_OPERANDS(FA_PARAMETER, FA_COMMA)", self.name);
        let kernel_type = self.kernel_type;
        let registration = |name| Registration { name, params: &params, kernel_type };
        let registrations: Vec<_> = names.iter().map(|name| registration(name)).collect();
        compile_with(&text, &registrations, &["-O0"])
    }
}

/// Of the mutant `index`, compiled as the function `number` of its family.
pub(crate) fn kernel_name(index: usize, number: usize) -> String {
    format!("mutant_{index}_{number}")
}

/// Compiles the mutants, and tells the first fault that each meets. The compiler takes some translation units
/// in parallel.
pub(crate) fn outcomes(
    mutants: &[Mutant],
    family: &Family,
    fault: impl Fn(&[u8], usize) -> Option<String> + Sync,
) -> Vec<(String, Option<String>)> {
    const UNITS: usize = 2;
    let fault = &fault;
    let numbered: Vec<_> = mutants.iter().enumerate().collect();
    let size = numbered.len().div_ceil(UNITS);
    std::thread::scope(|scope| {
        let handles: Vec<_> = numbered
            .chunks(size)
            .map(|unit| {
                scope.spawn(move || {
                    let image = family.compile(unit);
                    let run = |(index, m): &(usize, &Mutant)| (m.what.clone(), fault(&image, *index));
                    unit.iter().map(run).collect::<Vec<_>>()
                })
            })
            .collect();
        handles.into_iter().flat_map(|h| h.join().unwrap()).collect()
    })
}

/// Compiled mutants on a device that runs one group after the other.
pub(crate) fn load(image: &[u8]) -> (Device, Module) {
    let mut config = sim::Config::new(Soc::by_name("Ascend910B2").unwrap());
    config.threads = 1;
    let device = Device::simulated(config).unwrap();
    // SAFETY: the caller compiled the library from this crate's kernels and their simulator headers.
    let module = unsafe { Module::load(&device, image) }.unwrap();
    (device, module)
}

/// The last line of the fault that a launch ended with.
pub(crate) fn fault_of(run: Result<()>) -> Option<String> {
    let error = run.err()?;
    assert_eq!(error.kind(), ErrorKind::SimFault, "{error}");
    Some(error.to_string().lines().last().unwrap_or_default().to_owned())
}

/// Of each mutant, what it is and the fault that it met: each must be reported as a race or as a use of data
/// that was never written, but for those that `redundant` lists.
pub(crate) fn check(outcomes: &[(String, Option<String>)], redundant: &[(&str, &str)]) {
    for (listed, _) in redundant {
        assert!(outcomes.iter().any(|(what, _)| what.contains(listed)), "no mutant is called {listed:?}");
    }
    let mut wrong = Vec::new();
    for (what, fault) in outcomes {
        let is_listed = redundant.iter().any(|(listed, _)| what.contains(listed));
        match fault {
            None if !is_listed => wrong.push(format!("{what}: not reported")),
            Some(fault) if is_listed => wrong.push(format!("{what}: listed as redundant, but {fault}")),
            Some(fault) if !fault.contains("Fault: Race") && !fault.contains("Fault: Uninitialised") => {
                wrong.push(format!("{what}: {fault}"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
