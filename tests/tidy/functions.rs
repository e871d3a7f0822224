//! How long functions are.

use crate::code::{body, code, line};

/// Longest function, in lines from `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 60;
/// Longest test: one story may need more room.
const TEST_LINES_MAX: usize = 80;

/// A function that is longer than it may be.
#[derive(Debug, PartialEq, Eq)]
struct LongFunction {
    name: String,
    line: usize,
    lines: usize,
}

/// The functions of a source file that are too long, with those inside of others.
fn long_functions(text: &str) -> Vec<LongFunction> {
    let code = code(text);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ").filter(|&(at, _)| !code[..at].ends_with(is_name_part)) {
        let name: String = code[at + 3..].chars().take_while(|&part| is_name_part(part) || part == '$').collect();
        let Some((_, end)) = body(&code, at).filter(|_| !name.is_empty()) else { continue };
        let lines = code[at..end].matches('\n').count() + 1;
        if lines > if is_test(&code[..at]) { TEST_LINES_MAX } else { FUNCTION_LINES_MAX } {
            found.push(LongFunction { name, line: line(&code, at), lines });
        }
    }
    found
}

fn is_name_part(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether the function that follows this code has an attribute that makes it a test.
fn is_test(code: &str) -> bool {
    let attributes = code.rfind(['{', '}', ';']).map_or(code, |end| &code[end..]);
    attributes.contains("test]")
}

#[test]
fn functions_are_short() {
    let mut found = String::new();
    // Not of benches: the `main` of one is the list of what it measures.
    for file in crate::files(&["src", "actors", "tests", "examples"], "rs") {
        for LongFunction { name, line, lines } in long_functions(&file.text) {
            found += &format!("{}:{line}: {name} has {lines} lines\n", file.path);
        }
    }
    assert!(found.is_empty(), "more than {FUNCTION_LINES_MAX} lines, or {TEST_LINES_MAX} in a test; split:\n{found}");
}

#[test]
fn function_with_one_line_too_many_is_found() {
    // Braces in strings and comments end no function.
    let function = |lines: usize| format!("fn f() {{ // {{\n{}}}\n", "\"}\";\n".repeat(lines - 2));
    assert_eq!(long_functions(&function(60)), []);
    let long = |name: &str, line, lines| LongFunction { name: name.to_owned(), line, lines };
    assert_eq!(long_functions(&("\n".to_owned() + &function(61))), [long("f", 2, 61)]);

    let test = |lines| format!("fn g();\n\n#[test]\n#[ignore = \"{{;\"]\n{}", function(lines));
    assert_eq!(long_functions(&test(80)), []);
    assert_eq!(long_functions(&test(81)), [long("f", 5, 81)]);

    let inner = format!("impl T {{\nfn outer() {{\n{}}}\n}}\n", function(61));
    assert_eq!(long_functions(&inner), [long("outer", 2, 63), long("f", 3, 61)]);
}
