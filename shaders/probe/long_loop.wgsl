// value = scramble(scramble(value, 0), 1) ...: wrong where a driver ends a long loop early

struct State {
    iterations: u32,
    value: u32,
}

@group(0) @binding(0) var<storage, read_write> state: State;

@compute @workgroup_size(1)
fn long_loop() {
    var value = state.value;
    for (var i = 0u; i < state.iterations; i++) {
        value = (value ^ i) * 1664525u + 1013904223u;
    }
    state.value = value;
}
