//! The file that is sent: a PDF of one page (ISO 32000-1, the least that a reader opens).

use std::fmt::Write as _;

/// A page with one line of text; letters, digits and simple marks only.
pub(crate) fn page(text: &str) -> Vec<u8> {
    let content = format!("BT /F1 24 Tf 72 720 Td ({text}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = String::from("%PDF-1.4\n");
    let mut table = String::from("0000000000 65535 f \n");
    for (number, object) in (1..).zip(&objects) {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{:010} 00000 n ", file.len());
        let _ = writeln!(file, "{number} 0 obj\n{object}\nendobj");
    }
    let (entries, start) = (objects.len() + 1, file.len());
    let _ = write!(
        file,
        "xref\n0 {entries}\n{table}trailer\n<< /Size {entries} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    );
    file.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_of_the_table_points_to_its_object() {
        let file = String::from_utf8(page("Invoice 2041")).unwrap();
        let entries = file.lines().filter(|line| line.ends_with(" 00000 n "));
        let offsets: Vec<usize> = entries.map(|line| line[..10].parse().unwrap()).collect();
        for (number, offset) in (1..).zip(&offsets) {
            assert!(file[*offset..].starts_with(&format!("{number} 0 obj\n")), "object {number}");
        }
        assert_eq!(offsets.len(), 5);
        let start: usize = file.lines().rev().nth(1).unwrap().parse().unwrap();
        assert!(file[start..].starts_with("xref\n0 6\n"));
    }
}
