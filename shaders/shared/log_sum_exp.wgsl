
// ln Σ exp(z) of `cols` entries of z from `first` on; no exponential overflows.
fn log_sum_exp(first: u32, cols: u32) -> f32 {
    var largest = z[first];
    for (var j = 1u; j < cols; j++) {
        largest = max(largest, z[first + j]);
    }
    var sum = 0.0;
    for (var j = 0u; j < cols; j++) {
        sum += exp(z[first + j] - largest);
    }
    return largest + log(sum);
}
