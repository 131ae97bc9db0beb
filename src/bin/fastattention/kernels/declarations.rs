//! Function declarations in C++ headers, as far as those of CANN's CPU twin need it.

/// A declaration `result name(params);` of a function outside any class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub(crate) result: String,
    pub(crate) name: String,
    /// The parameter list as it is written, with single blanks.
    pub(crate) params: String,
    /// Names of the parameters.
    pub(crate) param_names: Vec<String>,
}

/// The declarations of a header, in its order. What does not read as one is passed over.
pub(crate) fn declarations(header: &str) -> Vec<Declaration> {
    without_comments(header).split(';').filter_map(declaration).collect()
}

fn declaration(statement: &str) -> Option<Declaration> {
    // Enumerations, structures and namespaces that end or begin before it.
    let start = statement.rfind(['{', '}']).map_or(0, |at| at + 1);
    let words: Vec<&str> = statement[start..].split_whitespace().collect();
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

/// The text without comments and preprocessor lines.
fn without_comments(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("/*") {
        result += &rest[..at];
        rest = rest[at..].split_once("*/").map_or("", |(_, after)| after);
    }
    result += rest;
    let lines = result.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_among_other_things() {
        let header = "#define X(a) f(a);\n/* void no(int a); */\ntypedef enum {\n A = 1,\n} mode_t;\n\
            void set_it();  // void no();\nint64_t get_it(const char* name, const uint64_t mask[]);\n\
            namespace ns {\nbool check(Params& p,\n    float  value);\n}\nextern int32_t g_value;\n";
        let found: Vec<_> = declarations(header)
            .into_iter()
            .map(|d| format!("{} {}({}) {}", d.result, d.name, d.params, d.param_names.join(" ")))
            .collect();
        assert_eq!(
            found,
            [
                "void set_it() ",
                "int64_t get_it(const char* name, const uint64_t mask[]) name mask",
                "bool check(Params& p, float value) p value",
            ]
        );
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
