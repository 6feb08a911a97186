//! A camera: it reads a QR code that is drawn in half blocks, two modules to a character, light on a dark terminal.

use rqrr::PreparedImage;

/// Pixels to a module: finders are found more surely in a picture that is not tiny.
const SCALE: usize = 4;
/// Light around the code, in modules, so that the terminal's own dark does not touch it.
const BORDER: usize = 4;

/// The text of the code.
///
/// # Errors
/// There is no code in the picture, or it cannot be read.
pub fn read(drawn: &str) -> Result<String, String> {
    let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
    let width = lines.iter().map(Vec::len).max().unwrap_or_default();
    let light = |x: usize, y: usize| match lines.get(y / 2).and_then(|line| line.get(x)) {
        Some('█') => true,
        Some('▀') => y.is_multiple_of(2),
        Some('▄') => !y.is_multiple_of(2),
        _ => false,
    };
    let (across, down) = (width + 2 * BORDER, lines.len() * 2 + 2 * BORDER);
    let mut picture = PreparedImage::prepare_from_greyscale(across * SCALE, down * SCALE, |x, y| {
        let (x, y) = (x / SCALE, y / SCALE);
        let inside = (BORDER..width + BORDER).contains(&x) && (BORDER..lines.len() * 2 + BORDER).contains(&y);
        if !inside || light(x - BORDER, y - BORDER) { 255 } else { 0 }
    });
    let grids = picture.detect_grids();
    let grid = grids.first().ok_or("there is no code in the picture")?;
    grid.decode().map(|(_, text)| text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_contract_draws_can_be_read() {
        let text = "2@abcDEF0123456789abcdefghijklmnopqrstuvwxyz+/,A+/b=,C/d=,E+f=,1";
        let drawn = enlace_contract::qr::terminal(text).unwrap();
        assert_eq!(super::read(&drawn).as_deref(), Ok(text));
        assert!(super::read("no code").is_err());
    }
}
