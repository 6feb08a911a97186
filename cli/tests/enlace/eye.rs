//! What the camera of a phone reads off a terminal.
//!
//! A code is drawn in half blocks, two modules to a character: on a dark terminal a block is light and a blank is dark.

use rqrr::PreparedImage;

/// Pixels to a module: finders are found more surely in a picture that is not tiny.
const SCALE: usize = 4;
/// No code has fewer lines.
const FEWEST_LINES: usize = 12;

/// The codes in what was written, oldest first; of each, what stands below it is there too.
pub(crate) fn codes(text: &str) -> Vec<String> {
    let mut codes = Vec::new();
    let mut lines: Vec<Vec<char>> = Vec::new();
    for line in text.lines() {
        let line: Vec<char> = line.chars().collect();
        let drawn = line.len() >= FEWEST_LINES && line.iter().all(|c| matches!(c, ' ' | '▀' | '▄' | '█'));
        if drawn {
            lines.push(line);
        } else if !lines.is_empty() {
            codes.push(read(&std::mem::take(&mut lines)));
        }
    }
    codes
}

fn read(lines: &[Vec<char>]) -> String {
    let width = lines[0].len();
    let light = |x: usize, y: usize| match lines[y / 2].get(x) {
        Some('█') => true,
        Some('▀') => y.is_multiple_of(2),
        Some('▄') => !y.is_multiple_of(2),
        _ => false,
    };
    let (across, down) = (width * SCALE, lines.len() * 2 * SCALE);
    let mut picture = PreparedImage::prepare_from_greyscale(across, down, |x, y| {
        if light(x / SCALE, y / SCALE) { 255 } else { 0 }
    });
    let grids = picture.detect_grids();
    assert_eq!(grids.len(), 1, "not one code in the drawing");
    grids[0].decode().unwrap().1
}
