
// The weights of the first layer of neurons, stored with all other parameters. Loads of these many
// weights limit the speed: an invocation reads 16 inputs at once, and uses each weight for BLOCKS
// blocks of examples.

fn fetch_first_weights(lane: u32) {}

fn return_first_weights(lane: u32) {}

// a = σ(x wᵀ + b) of the first layer of neurons: 4 neurons and BLOCKS blocks of examples at a time.
fn feedforward_inputs(numbers: MiniBatch, lane: u32) {
    let first = numbers.first;
    let blocks = N_4[1];
    let shares = shares_of(blocks, INPUTS_16);
    for (var base = 0u; base < blocks * shares; base += WORKGROUP_SIZE) {
        let j = (base + lane) / shares;
        let share = (base + lane) % shares;
        let there = j < blocks;
        for (var r = 0u; r < EXAMPLES_4; r += BLOCKS) {
            var examples: array<vec4<u32>, BLOCKS>;
            var sum: array<mat4x4<f32>, BLOCKS>;
            for (var i = 0u; i < BLOCKS; i++) {
                examples[i] = examples_4(first, r + i);
            }
            for (var k = select(INPUTS_16, share, there); k < INPUTS_16; k += shares) {
                var x: array<array<Inputs, 4>, BLOCKS>;
                for (var i = 0u; i < BLOCKS; i++) {
                    x[i] = inputs_of(examples[i], k);
                }
                for (var c = 0u; c < min(4u, N_4[0] - 4u * k); c++) {
                    let w = transpose(weight_block(weights_at(1u, j, 4u * k + c), N_4[0]));
                    for (var i = 0u; i < BLOCKS; i++) {
                        sum[i] += w * input_block(x[i], k, c);
                    }
                }
            }
            var z = sum;
            for (var i = 0u; i < blocks_at_once(first); i++) {
                finish_block(1u, numbers, r + i, j, there, lane, share, shares, INPUT_SCALE * z[i]);
            }
        }
    }
}

// The step for the part of a gradient from one of the GROUPS of examples. Until the last group, the
// gradient is accumulated in storage, behind the state.
fn update_block_by_groups(at: u32, stride: u32, share: mat4x4<f32>, step: Step, group: u32) {
    if LINEAR || GROUPS == 1u {
        update_block(at, stride, share, DECAYS && group == 0u, step);
        return;
    }
    var gradient = share;
    let sums = in_storage(at) + (1u + STATES) * PACKED;
    if group > 0u {
        gradient += mat4x4(parameters[sums], parameters[sums + stride], parameters[sums + 2u * stride], parameters[sums + 3u * stride]);
    }
    if group + 1u == GROUPS {
        update_block(at, stride, gradient, DECAYS, step);
        return;
    }
    parameters[sums] = gradient[0];
    parameters[sums + stride] = gradient[1];
    parameters[sums + 2u * stride] = gradient[2];
    parameters[sums + 3u * stride] = gradient[3];
}

// BP4 and the step for the first layer of neurons: ∇w = Σ δ aᵀ. An invocation has the same weights
// as in feedforward_inputs.
fn descend_inputs(step: Step, lane: u32) {
    let first = step.numbers.first;
    let blocks = N_4[1];
    let shares = shares_of(blocks, INPUTS_16);
    for (var j = lane / shares; j < blocks; j += max(1u, WORKGROUP_SIZE / shares)) {
        for (var r = 0u; r < EXAMPLES_4; r += BLOCKS) {
            var examples: array<vec4<u32>, BLOCKS>;
            var delta: array<mat4x4<f32>, BLOCKS>;
            for (var i = 0u; i < BLOCKS; i++) {
                examples[i] = examples_4(first, r + i);
                delta[i] = INPUT_SCALE * transpose(error_block(1u, r + i, j));
            }
            for (var k = lane % shares; k < INPUTS_16; k += shares) {
                var x: array<array<Inputs, 4>, BLOCKS>;
                for (var i = 0u; i < BLOCKS; i++) {
                    x[i] = inputs_of(examples[i], k);
                }
                for (var c = 0u; c < min(4u, N_4[0] - 4u * k); c++) {
                    var sum = mat4x4<f32>();
                    for (var i = 0u; i < BLOCKS; i++) {
                        sum += input_block(x[i], k, c) * delta[i];
                    }
                    let at = weights_at(1u, j, 4u * k + c);
                    update_block_by_groups(at, N_4[0], sum, step, r / BLOCKS);
                }
            }
        }
    }
}
