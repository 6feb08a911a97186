//! What a file `.env` says, read as Node's `dotenv` 16 reads it. A reader of another kind would make a wrong password
//! of a right one: there, `$` is a letter like any other, `#` begins a comment also within a word, and what is no line
//! of the form is passed over.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

/// What is white space in JavaScript.
const SPACE: [char; 25] = [
    '\t', '\n', '\u{b}', '\u{c}', '\r', ' ', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}',
    '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}', '\u{200a}',
    '\u{2028}', '\u{2029}', '\u{202f}', '\u{205f}', '\u{3000}', '\u{feff}',
];

/// A line: a name, and a value that is quoted (then it may have several lines) or goes on to `#` or the end.
static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let space: String = SPACE.into_iter().collect();
    let quoted = ['\'', '"', '`'].map(|quote| format!("[{space}]*{quote}(?:\\\\{quote}|[^{quote}])*{quote}"));
    let [single, double, backtick] = quoted;
    let value = format!("{single}|{double}|{backtick}|[^#\n]+");
    let name = format!("[{space}]*(?:export[{space}]+)?([A-Za-z0-9_.-]+)");
    let between = format!("(?:[{space}]*=[{space}]*?|:[{space}]+?)");
    Regex::new(&format!("(?m)^{name}{between}({value})?[{space}]*(?:#.*)?$")).ok()
});

/// The values by their names; of a name that is there twice, the last.
pub(super) fn read(text: &str) -> BTreeMap<String, String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines = LINE.iter().flat_map(|line| line.captures_iter(&text));
    let entry = |line: regex::Captures<'_>| {
        let value = line.get(2).map_or("", |value| value.as_str());
        Some((line.get(1)?.as_str().to_owned(), unquoted(value.trim_matches(SPACE))))
    };
    lines.filter_map(entry).collect()
}

/// A value without its quotes.
fn unquoted(value: &str) -> String {
    let within = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    let plain = ['\'', '"', '`'].into_iter().find_map(within).unwrap_or(value);
    // The quote at the end may be missing.
    if value.starts_with('"') { plain.replace("\\n", "\n").replace("\\r", "\r") } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts, and what `dotenv` 16.6.1 says of them.
    #[rustfmt::skip]
    const TABLE: &[(&str, &[(&str, &str)])] = &[
        ("A=pa$word", &[("A", "pa$word")]),
        ("A=pa${X}word\nX=1", &[("A", "pa${X}word"), ("X", "1")]),
        ("A=\"a$b\"", &[("A", "a$b")]),
        ("A=pa#word", &[("A", "pa")]),
        ("A=pa #word", &[("A", "pa")]),
        ("A=\"pa#word\" # said", &[("A", "pa#word")]),
        ("A=`pa#w\"o'rd`", &[("A", "pa#w\"o'rd")]),
        ("A='pa#word'", &[("A", "pa#word")]),
        ("A=a b c", &[("A", "a b c")]),
        ("A= a b c  ", &[("A", "a b c")]),
        ("A=a\\b", &[("A", "a\\b")]),
        ("A=a\\nb", &[("A", "a\\nb")]),
        ("A=\"a\\nb\\rc\\td\\\\e\"", &[("A", "a\nb\rc\\td\\\\e")]),
        ("A='a\\nb'", &[("A", "a\\nb")]),
        ("A=`a\\nb`", &[("A", "a\\nb")]),
        ("A: hola", &[("A", "hola")]),
        ("A:hola", &[]),
        ("A : hola", &[]),
        ("DB-X.Y=1", &[("DB-X.Y", "1")]),
        ("1A=1", &[("1A", "1")]),
        ("hola\nA=1", &[("A", "1")]),
        ("=1\nA=1", &[("A", "1")]),
        ("A\nB=1", &[("B", "1")]),
        ("export A=1", &[("A", "1")]),
        ("export  A = 1", &[("A", "1")]),
        ("exportA=1", &[("exportA", "1")]),
        ("A=1\nA=2", &[("A", "2")]),
        ("A=\nB=1", &[("A", ""), ("B", "1")]),
        ("A=\n\nB=1", &[("A", ""), ("B", "1")]),
        ("A=\"a\nb\"\nB=1", &[("A", "a\nb"), ("B", "1")]),
        ("A='a\nb'", &[("A", "a\nb")]),
        ("A=`a\nb`", &[("A", "a\nb")]),
        ("A=a\r\nB=b\rC=c", &[("A", "a"), ("B", "b"), ("C", "c")]),
        ("\u{feff}A=1", &[("A", "1")]),
        ("# A=1\n  # B=1\nC=1", &[("C", "1")]),
        ("A=1 # B=2", &[("A", "1")]),
        ("A=\"", &[("A", "\"")]),
        ("A=\"a", &[("A", "\"a")]),
        ("A='a\nB=1", &[("A", "'a"), ("B", "1")]),
        ("A=\"a\"b\"", &[("A", "a\"b")]),
        ("A=\"a\\\"b\"", &[("A", "a\\\"b")]),
        ("A='it's'", &[("A", "it's")]),
        ("A=a=b==", &[("A", "a=b==")]),
        ("A=\"a\" b", &[("A", "\"a\" b")]),
        ("A=  \"  a  \"  ", &[("A", "  a  ")]),
        ("A=a\"b\"", &[("A", "a\"b\"")]),
        ("A==1", &[("A", "=1")]),
        ("A=#1", &[("A", "")]),
        ("A= # 1", &[("A", "")]),
        ("A=\"\"", &[("A", "")]),
        ("A=''", &[("A", "")]),
        ("A=``", &[("A", "")]),
        ("  A=1", &[("A", "1")]),
        ("A.=1", &[("A.", "1")]),
        ("Á=1", &[]),
        ("A=ñandú €", &[("A", "ñandú €")]),
        ("A=\u{a0}1\u{a0}", &[("A", "1")]),
        ("A=\n\"b\"", &[("A", "b")]),
        ("A=\"a'", &[("A", "\"a'")]),
        ("A=a\tb\t", &[("A", "a\tb")]),
        ("A=\"a\nB=\"x\"\nC=1", &[("A", "\"a"), ("B", "x"), ("C", "1")]),
        ("A=\"a\\nb", &[("A", "\"a\nb")]),
    ];

    #[test]
    fn a_text_is_read_as_node_reads_it() {
        for (text, values) in TABLE {
            let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            assert_eq!(read(text), values.collect(), "{text:?}");
        }
    }
}
