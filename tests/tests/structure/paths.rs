//! The paths that a source file names, as `crate::a::b`, whether in a `use` or in the midst of code.

/// What a source consists of, as far as paths go.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    /// `::`
    Separator,
    Open,
    Close,
    Other,
}

/// Every path of at least two names in `source`; the groups of a `use` are taken apart.
pub(crate) fn paths(source: &str) -> Vec<Vec<String>> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match (&tokens[at], tokens.get(at + 1)) {
            (Token::Name(_), Some(Token::Separator)) => path(&tokens, at, &[], &mut found),
            _ => at + 1,
        };
    }
    found
}

/// Notes the path at `at`, or those into which it branches, after `prefix`; the place behind it.
fn path(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut names = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(Token::Name(name)) => {
                // `self` in a group is the group's own module.
                if names.is_empty() || name != "self" {
                    names.push(name.clone());
                }
                at += 1;
            }
            Some(Token::Open) if names.len() > prefix.len() => {
                at += 1;
                while !matches!(tokens.get(at), Some(Token::Close) | None) {
                    at = match &tokens[at] {
                        Token::Name(_) => path(tokens, at, &names, found),
                        _ => at + 1,
                    };
                }
                return at + 1;
            }
            // `*`, or the arguments of a generic type.
            _ => break,
        }
        match tokens.get(at) {
            Some(Token::Separator) => at += 1,
            _ => break,
        }
    }
    found.push(names);
    at
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(length) = literal(rest) {
            tokens.push(Token::Other);
            length
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let length = end.unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..length].to_owned()));
            length
        } else if rest.starts_with("::") {
            tokens.push(Token::Separator);
            2
        } else {
            match first {
                '{' => tokens.push(Token::Open),
                '}' => tokens.push(Token::Close),
                c if c.is_whitespace() => {}
                _ => tokens.push(Token::Other),
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the text or character that `rest` begins with.
fn literal(rest: &str) -> Option<usize> {
    for (open, close) in [
        ("r#\"", "\"#"),
        ("br#\"", "\"#"),
        ("r\"", "\""),
        ("br\"", "\""),
    ] {
        if let Some(text) = rest.strip_prefix(open) {
            let length = text.find(close).unwrap_or(text.len());
            return Some(open.len() + length + close.len().min(text.len() - length));
        }
    }
    if rest.starts_with("'\"'") {
        return Some(3);
    }
    let text = rest.strip_prefix('"')?;
    let mut escaped = false;
    let end = text.find(|c| {
        let is_end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    });
    Some(1 + end.map_or(text.len(), |end| end + 1))
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let source = r##"
        use crate::a::{self, b::{C, d}, e};
        use std::net::*; // use crate::comment::C;
        fn f(x: crate::g::H<super::I>) { let s = "crate::text::T"; r#"crate::" raw::T"#; j::k("{"); '"'; l::m() }
    "##;
    let found: Vec<String> = paths(source).iter().map(|path| path.join("::")).collect();
    let expected = [
        "crate::a",
        "crate::a::b::C",
        "crate::a::b::d",
        "crate::a::e",
        "std::net",
        "crate::g::H",
        "super::I",
        "j::k",
        "l::m",
    ];
    assert_eq!(found, expected);
}
