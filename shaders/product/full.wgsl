
// Full precision: factors as they are.
alias Factor = f32;

fn x_factors(values: vec4<f32>) -> vec4<f32> {
    return values;
}

fn y_factors(values: vec4<f32>) -> vec4<f32> {
    return values;
}

fn sums_of_factors(sums: vec4<f32>) -> vec4<f32> {
    return sums;
}
