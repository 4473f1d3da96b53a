//! Images as PNG inside a page.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use png::{BitDepth, ColorType, Encoder};

use crate::commands::report::Picture;

/// The data URL of an image: light on dark, as the digits are.
///
/// # Errors
/// None: writing to memory does not fail.
pub fn of_image(picture: &Picture) -> Result<String> {
    let bytes: Vec<u8> = picture.pixels.iter().map(|pixel| (255.0 * pixel.clamp(0.0, 1.0)).round() as u8).collect();
    address(picture.side, ColorType::Grayscale, &bytes)
}

/// The data URL of an image of weights: blue below 0, white at 0, red above; the largest magnitude
/// has full colour.
///
/// # Errors
/// As [`of_image`].
pub fn of_weights(side: usize, weights: &[f32]) -> Result<String> {
    let most = weights.iter().fold(1e-12f32, |most, w| most.max(w.abs()));
    let pixel = |w: &f32| {
        let part = (w / most).clamp(-1.0, 1.0);
        let fades = |full: f32| (255.0 - part.abs() * (255.0 - full)).round() as u8;
        if part < 0.0 { [fades(0.0), fades(90.0), fades(180.0)] } else { [fades(190.0), fades(50.0), fades(20.0)] }
    };
    let bytes: Vec<u8> = weights.iter().flat_map(pixel).collect();
    address(side, ColorType::Rgb, &bytes)
}

fn address(side: usize, colours: ColorType, bytes: &[u8]) -> Result<String> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, u32::try_from(side)?, u32::try_from(side)?);
    encoder.set_color(colours);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(bytes)?;
    writer.finish()?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(file)))
}
