//! What is committed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skipped::skipped;

/// Folders of what a running system writes.
const FOLDERS: [&str; 5] = ["uploads", "sessions", "logs", "node_modules", ".wwebjs_auth"];
/// Ends of names of invoices, sessions, keys, databases and dumps.
const ENDS: [&str; 14] =
    ["pdf", "xml", "env", "key", "pem", "p12", "db", "sqlite", "log", "csv", "xlsx", "docx", "zip", "gz"];
/// Beginnings of invented numbers of the country whose real ones had been published.
const INVENTED: [&str; 3] = ["519000", "5191111", "5199999"];

/// The files that git knows; none where this is no checkout.
fn committed() -> Option<(PathBuf, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(&root).output();
    let listed = listed.ok().filter(|listed| listed.status.success()).map(|listed| listed.stdout);
    let Some(names) = listed.filter(|names| !names.is_empty()) else {
        skipped("a test of what is committed", "this is no checkout of git");
        return None;
    };
    let names = String::from_utf8(names).unwrap();
    Some((root, names.split_terminator('\0').map(str::to_owned).collect()))
}

/// Defect 14: tokens, passwords, numbers, invoices and a dump of the database were in the repository.
#[test]
fn the_repository_has_no_secret_no_real_number_and_nothing_of_a_running_system() {
    let Some((root, names)) = committed() else { return };
    for name in names {
        let file = Path::new(&name);
        let folder = file.iter().find(|part| FOLDERS.iter().any(|known| part == known));
        assert_eq!(folder, None, "{name}");
        let end = name.rsplit(['.', '/']).next().unwrap();
        assert!(!ENDS.contains(&end), "{name}");
        // What was deleted and not committed yet is no file.
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        let dump = end == "sql" && text.to_ascii_uppercase().contains("VALUES");
        assert!(!dump, "{name} has rows");
        // Those of packages are sums.
        if !name.ends_with("Cargo.lock") {
            check(&name, &text);
        }
    }
}

#[track_caller]
fn check(name: &str, text: &str) {
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let of = |digit: fn(&u8) -> bool| word.bytes().all(|byte| digit(&byte));
        let token = word.len() >= 64 && of(u8::is_ascii_hexdigit) && word.bytes().any(|byte| byte != b'0');
        assert!(!token, "{name} has a token: {word}");
        let number = word.len() == 11 && word.starts_with("519") && of(u8::is_ascii_digit);
        let invented = INVENTED.iter().any(|known| word.starts_with(known));
        assert!(!number || invented, "{name} has a number: {word}");
    }
}

#[test]
fn what_must_not_be_committed_is_found() {
    let real = format!("51{}", "987654321");
    for text in [format!("numero: {real}"), format!("Bearer {}", "a1".repeat(32))] {
        assert!(std::panic::catch_unwind(|| check("file", &text)).is_err(), "{text}");
    }
    check("file", "51900000640 525550000001");
}
