// `iterations` barriers of the kind that separates the steps of the training loop

struct State {
    iterations: u32,
    value: u32,
}

override LANES: u32;

@group(0) @binding(0) var<storage, read_write> state: State;

@compute @workgroup_size(LANES)
fn barrier() {
    for (var i = 0u; i < state.iterations; i++) {
        storageBarrier();
        workgroupBarrier();
    }
}
