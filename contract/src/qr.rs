//! QR codes for a terminal.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// The text is too long for a QR code.
#[derive(Debug, thiserror::Error)]
#[error("the text does not fit into a QR code")]
pub struct TooLong(#[source] qrcode::types::QrError);

/// A QR code drawn in half blocks, two modules to a character: dark modules are blank, light ones are blocks, so that it
/// reads right on a dark terminal. Lines end with `\n`, but for the last.
///
/// # Errors
/// When the text does not fit into a QR code.
pub fn terminal(text: &str) -> Result<String, TooLong> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(TooLong)?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
