
// Weight decay (equations 93 and 97 of the book): (1 − ηλ/n) w − (ηλ₁/n) sgn(w)
fn decayed(w: f32) -> f32 {
    return mini_batch.keep * w - mini_batch.l1 * sign(w);
}
