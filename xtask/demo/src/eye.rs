//! What the simulated phone's camera does: it reads the QR code off the terminal.
//!
//! A code is drawn in half blocks, two modules to a character. On a dark terminal a block is light and a blank is dark; a code drawn the
//! other way round is not read here either, because many cameras do not.

use rqrr::PreparedImage;

/// Pixels to a module: finders are found more surely in a picture that is not tiny.
const SCALE: usize = 4;
/// No code of fewer lines: version 1 with the narrowest border that scanners accept.
const FEWEST_LINES: usize = 12;

/// Collects the lines of a terminal until they are a whole code.
#[derive(Default)]
pub(crate) struct Eye {
    lines: Vec<Vec<char>>,
}

impl Eye {
    /// Looks at the next line; the text of the code, once all of it is drawn.
    pub(crate) fn see(&mut self, line: &str) -> Option<String> {
        let line: Vec<char> = without_styles(line).chars().collect();
        let drawn = !line.is_empty() && line.iter().all(|drawn| matches!(drawn, ' ' | '▀' | '▄' | '█'));
        if !drawn || self.lines.last().is_some_and(|last| last.len() != line.len()) {
            self.lines.clear();
        }
        if !drawn {
            return None;
        }
        let width = line.len();
        self.lines.push(line);
        // A code is as high as it is wide.
        if self.lines.len() < FEWEST_LINES || self.lines.len() < width.div_ceil(2) {
            return None;
        }
        let text = read(&self.lines);
        self.lines.clear();
        text
    }
}

fn read(lines: &[Vec<char>]) -> Option<String> {
    let width = lines.first()?.len();
    let light = |x: usize, y: usize| match lines.get(y / 2).and_then(|line| line.get(x)) {
        Some('█') => true,
        Some('▀') => y.is_multiple_of(2),
        Some('▄') => !y.is_multiple_of(2),
        _ => false,
    };
    // A border of light around all: the terminal's own dark must not touch the code.
    let border = 4;
    let (across, down) = (width + 2 * border, lines.len() * 2 + 2 * border);
    let mut picture = PreparedImage::prepare_from_greyscale(across * SCALE, down * SCALE, |x, y| {
        let (x, y) = (x / SCALE, y / SCALE);
        let outside = x < border || y < border || x >= width + border || y >= lines.len() * 2 + border;
        if outside || light(x - border, y - border) { 255 } else { 0 }
    });
    picture.detect_grids().first()?.decode().ok().map(|(_, text)| text)
}

/// The line without colours and other styles (ECMA-48 control sequences).
fn without_styles(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.trim_end_matches(['\r', '\n']).chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            text.push(character);
        } else if characters.next() == Some('[') {
            // A sequence ends with a byte from '@' to '~'.
            characters.by_ref().find(|end| ('@'..='~').contains(end));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2@abcDEF0123456789abcdefghijklmnopqrstuvwxyz+/,A+/b=,C/d=,E+f=,1";

    #[test]
    fn a_code_between_other_lines_is_read_when_its_last_line_is_there() {
        let drawn = enlace_contract::qr::terminal(TEXT).unwrap();
        let mut eye = Eye::default();
        assert_eq!(eye.see("Scan this on your phone:"), None);
        let seen: Vec<Option<String>> = drawn.lines().map(|line| eye.see(line)).collect();
        let (last, before) = seen.split_last().unwrap();
        assert!(before.iter().all(Option::is_none));
        assert_eq!(last.as_deref(), Some(TEXT));
        assert_eq!(eye.see("Waiting."), None);
    }

    #[test]
    fn styles_around_a_code_do_not_matter() {
        let drawn = enlace_contract::qr::terminal(TEXT).unwrap();
        let mut eye = Eye::default();
        let last = drawn.lines().map(|line| eye.see(&format!("\u{1b}[97;40m{line}\u{1b}[0m"))).last();
        assert_eq!(last.flatten().as_deref(), Some(TEXT));
    }
}
