
// Products of factors rounded to 16 bits, summed in 32. Errors are multiplied by X_SCALE, a power of
// two, before they are rounded: small ones would else be lost. What is rounded by quantizeToF16 cannot be
// taken back by a compiler, as a conversion there and back can, and fits in Factor.
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
