//! Function declarations in preprocessed C++ headers, as far as those of CANN's CPU twin need it.

use std::path::Path;

/// A declaration `result name(params);` of a function outside any class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declaration {
    /// `a::b`; empty for the global one.
    pub(super) namespace: String,
    pub(super) result: String,
    pub(super) name: String,
    /// The parameter list as it is written, with single blanks.
    pub(super) params: String,
    /// Names of the parameters.
    pub(super) param_names: Vec<String>,
}

impl Declaration {
    /// The text of a definition with this body.
    pub(super) fn define(&self, body: &str) -> String {
        let Self { namespace, result, name, params, .. } = self;
        let function = format!("{result} {name}({params}) {{ {body} }}");
        if namespace.is_empty() {
            format!("{function}\n")
        } else {
            format!("namespace {namespace} {{ {function} }}\n")
        }
    }
}

/// The lines of a preprocessor's output that come from files for which `wanted` holds, without directives.
pub(super) fn lines_of(preprocessed: &str, wanted: impl Fn(&Path) -> bool) -> String {
    let mut text = String::new();
    let mut is_wanted = false;
    for line in preprocessed.lines() {
        if let Some(marker) = line.strip_prefix("# ") {
            is_wanted = marker.split('"').nth(1).is_some_and(|file| wanted(Path::new(file)));
        } else if is_wanted && !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

/// The declarations of preprocessed headers, in their order. What does not read as one is passed over.
pub(super) fn declarations(text: &str) -> Vec<Declaration> {
    let mut found = Vec::new();
    // The names of the namespaces around; `None` for anything else in braces.
    let mut scopes: Vec<Option<&str>> = Vec::new();
    let mut start = 0;
    for (at, mark) in text.match_indices(['{', '}', ';']) {
        let statement = &text[start..at];
        start = at + 1;
        match mark {
            "{" => scopes.push(namespace_name(statement)),
            "}" => drop(scopes.pop()),
            _ => {
                let namespaces: Option<Vec<&str>> = scopes.iter().copied().collect();
                found.extend(namespaces.and_then(|names| declaration(statement, names.join("::"))));
            }
        }
    }
    found
}

/// The name of the namespace that begins after this text.
fn namespace_name(head: &str) -> Option<&str> {
    let name = head.trim().strip_prefix("namespace ")?.trim();
    name.split("::").all(is_identifier).then_some(name)
}

fn declaration(statement: &str, namespace: String) -> Option<Declaration> {
    let words: Vec<&str> = statement.split_whitespace().collect();
    let text = words.join(" ");
    let (head, params) = text.strip_suffix(')')?.split_once('(')?;
    let (result, name) = head.trim().split_once(' ')?;
    if !is_identifier(result) || !is_identifier(name) || params.contains(['(', ')']) {
        return None;
    }
    let params = params.trim();
    let each = params.split(',').filter(|p| !p.is_empty());
    let param_names = each.map(param_name).collect::<Option<_>>()?;
    Some(Declaration {
        namespace,
        result: result.to_owned(),
        name: name.to_owned(),
        params: params.to_owned(),
        param_names,
    })
}

/// The identifier at the end of a parameter.
fn param_name(param: &str) -> Option<String> {
    let param = param.trim().trim_end_matches("[]").trim_end();
    let start = param.rfind(|c: char| !is_word(c)).map(|at| at + 1)?;
    let name = &param[start..];
    is_identifier(name).then(|| name.to_owned())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_identifier(text: &str) -> bool {
    text.chars().all(is_word) && text.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_among_other_things() {
        let header = "typedef enum {\n A = 1,\n} mode_t;\n\
            void set_it();\nint64_t get_it(const char* name, const uint64_t mask[]);\n\
            namespace ns {\nbool check(Params& p,\n    float  value);\nclass C {\n int no(int a);\n};\n\
            namespace inner { void deep(); } }\nnamespace a::b { void set_it(); }\nextern int32_t g_value;\n";
        let found: Vec<_> = declarations(header)
            .into_iter()
            .map(|d| {
                let Declaration { namespace, result, name, params, param_names } = d;
                format!("[{namespace}] {result} {name}({params}) {}", param_names.join(" "))
            })
            .collect();
        assert_eq!(
            found,
            [
                "[] void set_it() ",
                "[] int64_t get_it(const char* name, const uint64_t mask[]) name mask",
                "[ns] bool check(Params& p, float value) p value",
                "[ns::inner] void deep() ",
                "[a::b] void set_it() ",
            ]
        );
    }

    #[test]
    fn a_definition_stands_in_the_namespace_of_its_declaration() {
        let found = declarations("int f(int a); namespace x { namespace y { int f(int a); } }");
        let text: String = found.iter().map(|d| d.define("return a;")).collect();
        assert_eq!(text, "int f(int a) { return a; }\nnamespace x::y { int f(int a) { return a; } }\n");
    }

    #[test]
    fn lines_are_taken_by_their_file() {
        let output = "# 0 \"/twin/a.cpp\"\nno\n# 1 \"/cann/x.h\" 1 3\none\n#pragma message(\"no\")\n\
                      # 7 \"/cann/y.h\" 1\nno\n# 3 \"/cann/x.h\" 2\ntwo\n# 2 \"/twin/a.cpp\" 2\nno\n";
        assert_eq!(lines_of(output, |file| file == Path::new("/cann/x.h")), "one\ntwo\n");
    }

    #[test]
    fn what_is_no_declaration_is_passed_over() {
        for text in [
            "int x = f(1);",
            "using F = void (*)(int a);",
            "void f(int) {}",
            "Fp16T(const float& v) : a(f(v)) {}",
        ] {
            assert_eq!(declarations(text), [], "{text}");
        }
    }
}
