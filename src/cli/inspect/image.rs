//! Images in a terminal.

/// Characters from dark to bright.
const SHADES: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];

/// Draws a square image with pixels from 0 to the largest value, two characters per pixel; `None`
/// if the number of pixels is not a square.
pub fn drawn(pixels: &[f64]) -> Option<String> {
    let side = (pixels.len() as f64).sqrt().round() as usize;
    let largest = pixels.iter().copied().fold(0.0, f64::max);
    if side < 4 || side * side != pixels.len() || largest <= 0.0 || pixels.iter().any(|&pixel| pixel < 0.0) {
        return None;
    }
    let shade = |&pixel: &f64| {
        let shade = SHADES[((pixel / largest * (SHADES.len() - 1) as f64).round() as usize).min(SHADES.len() - 1)];
        [shade, shade]
    };
    let line = |row: &[f64]| {
        let line = format!("    {}", row.iter().flat_map(shade).collect::<String>());
        format!("{}\n", line.trim_end())
    };
    Some(pixels.chunks_exact(side).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_is_drawn() {
        let mut pixels = vec![0.0; 16];
        (pixels[0], pixels[5], pixels[7]) = (1.0, 0.5, 0.2);
        assert_eq!(drawn(&pixels).expect("a square"), "    @@\n      ++  ::\n\n\n");
        assert_eq!([drawn(&pixels[..15]), drawn(&[0.0; 16]), drawn(&[1.0; 4])], [None, None, None]);
    }
}
