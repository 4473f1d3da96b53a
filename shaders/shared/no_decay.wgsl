
// Weights that do not decay.
fn decayed(w: f32) -> f32 {
    return w;
}
