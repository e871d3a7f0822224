//! Rust source without what is no code: enough of the language's rules to count braces and to find paths.

/// The text with comments and literals blanked out. Every line stays where it is.
pub(crate) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let hidden = hidden_len(rest);
        if hidden == 0 {
            code.push(next);
        }
        let (passed, left) = rest.split_at(hidden.max(next.len_utf8()));
        if hidden > 0 {
            code.extend(passed.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        }
        rest = left;
    }
    code
}

/// Length of the comment or literal with which the text begins; 0 if it begins with code.
fn hidden_len(text: &str) -> usize {
    let up_to = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        block_comment_len(text)
    } else if text.starts_with('"') {
        string_len(text)
    } else if text.starts_with("'\\") {
        up_to("'", 3)
    } else if text.starts_with('\'') {
        // With a second quote it is a character, otherwise a lifetime.
        text.char_indices().nth(2).filter(|&(_, third)| third == '\'').map_or(0, |(at, _)| at + 1)
    } else if let Some(raw) = text.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let is_string = raw[hashes..].starts_with('"');
        if is_string { up_to(&format!("\"{}", "#".repeat(hashes)), 2 + hashes) } else { 0 }
    } else {
        0
    }
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

fn string_len(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the item that begins at `from` has its body, from brace to brace; `None` if it ends with a semicolon.
pub(crate) fn body(code: &str, from: usize) -> Option<(usize, usize)> {
    let (mut brackets, mut braces, mut start) = (0_usize, 0_usize, 0);
    for (at, character) in code[from..].char_indices().map(|(at, character)| (from + at, character)) {
        match character {
            '(' | '[' if braces == 0 => brackets += 1,
            ')' | ']' if braces == 0 => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => {
                if braces == 0 {
                    start = at;
                }
                braces += 1;
            }
            '}' if braces == 1 => return Some((start, at + 1)),
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// The number of the line that holds this place.
pub(crate) fn line(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

#[test]
fn comments_and_literals_are_no_code() {
    assert_eq!(code("a // {\nb"), "a     \nb");
    assert_eq!(code("a /* { /* } */ \n*/b"), "a              \n  b");
    assert_eq!(code(r#"("\"{", '{', '\'', b'}', 'a)"#), "(     ,    ,     , b   , 'a)");
    assert_eq!(code(r##"(r#"{"{"#, r"\", r#type)"##), "(        ,     , r#type)");
    assert_eq!(code("fn f<'a>(x: &'a str) -> char { 'ä' }"), "fn f<'a>(x: &'a str) -> char {     }");
}

#[test]
fn body_is_found_from_brace_to_brace() {
    let code = "fn f(x: [u8; 2]) { if y { z } } fn g();";
    let (start, end) = body(code, 0).expect("f has a body");
    assert_eq!(&code[start..end], "{ if y { z } }");
    assert_eq!(body(code, end), None);
}
