//! A library between the program and the drop-in library: it counts every call and passes it on.
//!
//! It is C text, made of the names that the drop-in library exports, so no function is left out and nothing
//! of this crate does the counting.

use std::ffi::{c_char, CStr};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libloading::Library;
use object::{Object, ObjectSymbol};

/// What finds the functions of the library in `TARGET`, and says how often each was called.
const FRAME: &str = r#"
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

// Integers and pointers, more of them than any function takes: the calling conventions of the hosts that CANN
// has let a function ignore what comes behind its own.
typedef long Forward(long, long, long, long, long, long, long, long, long, long, long, long);

struct Function {
    const char* name;
    Forward* function;
    atomic_long calls;
};
extern struct Function functions[];
extern const size_t number_of_functions;

__attribute__((constructor)) static void find(void) {
    void* library = dlopen(TARGET, RTLD_NOW);
    if (library == NULL) abort();
    for (size_t i = 0; i < number_of_functions; i++) {
        functions[i].function = (Forward*)dlsym(library, functions[i].name);
        if (functions[i].function == NULL) abort();
    }
}

const char* counted_name(size_t i) { return i < number_of_functions ? functions[i].name : NULL; }
long counted_calls(size_t i) { return atomic_exchange(&functions[i].calls, 0); }

#define COUNT(INDEX, NAME)                                                                      \
    long NAME(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j,    \
              long k, long l) {                                                                 \
        atomic_fetch_add(&functions[INDEX].calls, 1);                                           \
        return functions[INDEX].function(a, b, c, d, e, f, g, h, i, j, k, l);                   \
    }
"#;

/// Compiles the counting library for the drop-in library of a folder.
pub(crate) fn build(lib64: &Path) -> PathBuf {
    let target = lib64.join("libascendcl.so");
    let data = fs::read(&target).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let names: Vec<_> =
        file.dynamic_symbols().filter(|s| s.is_definition()).map(|s| s.name().unwrap()).collect();
    assert!(names.len() > 200, "{} functions", names.len());
    let (mut table, mut counts) = (String::new(), String::new());
    for (i, name) in names.iter().enumerate() {
        writeln!(table, "    {{\"{name}\", NULL, 0}},").unwrap();
        writeln!(counts, "COUNT({i}, {name})").unwrap();
    }
    let text = format!(
        "{FRAME}\n{counts}\nstruct Function functions[] = {{\n{table}}};\nconst size_t number_of_functions = {};\n",
        names.len()
    );
    let (source, library) = (lib64.join("counted.c"), lib64.join("libcounted.so"));
    fs::write(&source, text).unwrap();
    let output = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=gnu11", "-shared", "-fPIC", "-O1", "-Wall", "-Werror"])
        .arg(format!("-DTARGET=\"{}\"", target.display()))
        .arg("-o")
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// The counts of the loaded library.
pub(crate) struct Counts {
    names: Vec<&'static str>,
    calls: unsafe extern "C" fn(usize) -> i64,
}

impl Counts {
    /// Of a library that stays loaded.
    pub(crate) fn of(library: &'static Library) -> Self {
        type Name = unsafe extern "C" fn(usize) -> *const c_char;
        // SAFETY: the functions of `FRAME` have these signatures.
        let name = unsafe { library.get::<Name>(b"counted_name") }.unwrap();
        // SAFETY: as above.
        let calls = *unsafe { library.get(b"counted_calls") }.unwrap();
        let names = (0..).map_while(|i| {
            // SAFETY: takes any number.
            let name = unsafe { name(i) };
            // SAFETY: not null, so a literal of the library.
            (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_str().unwrap())
        });
        Self { names: names.collect(), calls }
    }

    /// The functions that were called since the last look, and how often.
    pub(crate) fn take(&self) -> Vec<(&'static str, i64)> {
        // SAFETY: the number is one of a name.
        let calls = |i| unsafe { (self.calls)(i) };
        let all = self.names.iter().enumerate().map(|(i, name)| (*name, calls(i)));
        all.filter(|(_, calls)| *calls > 0).collect()
    }
}
