//! A value as the file or the environment has it.

/// A value. Every scalar is kept as it is written, so that a password `0123` stays so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
    /// Something that is there and can be no setting, in words.
    Unusable(String),
}

impl Value {
    /// What makes a value unusable, whatever it is for. Nothing that is there counts as absent.
    pub(super) fn flaw(&self) -> Option<String> {
        match self {
            Self::Unusable(what) => Some(what.clone()),
            Self::Text(text) => flaw_of_text(text),
            Self::List(items) => items
                .iter()
                .find_map(Self::flaw)
                .map(|flaw| format!("a list with an item that is {flaw}")),
            Self::Map(members) => members
                .iter()
                .find_map(|(_, value)| value.flaw())
                .map(|flaw| format!("a mapping with a value that is {flaw}")),
        }
    }
}

fn flaw_of_text(text: &str) -> Option<String> {
    let edges = [text.chars().next(), text.chars().next_back()];
    if text.is_empty() {
        return Some("empty".to_owned());
    }
    let [first, last] = edges.map(|edge| edge.filter(|&edge| is_invisible(edge)));
    match (first, last) {
        (Some(edge), _) => Some(format!(
            "a text that begins with {}",
            name_of_invisible(edge)
        )),
        (None, Some(edge)) => Some(format!("a text that ends with {}", name_of_invisible(edge))),
        (None, None) => None,
    }
}

fn name_of_invisible(character: char) -> String {
    match character {
        ' ' => "a blank".to_owned(),
        '\n' | '\r' => "a line break".to_owned(),
        other => format!("an invisible character (U+{:04X})", u32::from(other)),
    }
}

/// Blanks, control characters and what Unicode calls default ignorable, as far as it stands for nothing
/// (<https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point>).
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
