
// Mixed precision: factors rounded to 16 bits, sums in 32. Errors are multiplied by X_SCALE, a
// power of two, before rounding, so that small ones are not lost. quantizeToF16 cannot be optimized
// away, as a conversion to f16 and back can; its results fit in Factor.
alias Factor = f16;

fn x_factors(values: vec4<f32>) -> vec4<f32> {
    return quantizeToF16(X_SCALE * values);
}

fn y_factors(values: vec4<f32>) -> vec4<f32> {
    return quantizeToF16(values);
}

fn sums_of_factors(sums: vec4<f32>) -> vec4<f32> {
    return sums / X_SCALE;
}
