//! Uploads: the data set, the parameters and the state of the optimizer.

use anyhow::Result;

use crate::backprop::{Desired, Examples, Matrices};
use crate::data::{Dataset, Inputs, Targets};
use crate::kernels::state_of;
use crate::network::optimizer::Optimizer;
use crate::network::{Layers, Parameters};
use crate::plan::executor::Executor;
use crate::plan::{Element, Matrix};

/// Uploads the inputs and the desired outputs of a data set.
pub(crate) fn write_examples(executor: &mut dyn Executor, examples: &Examples, dataset: &Dataset) -> Result<()> {
    match dataset.inputs() {
        Inputs::Bytes { values, .. } => executor.write(&examples.inputs, values)?,
        Inputs::Floats(values) => executor.write(&examples.inputs, values)?,
        other @ (Inputs::Doubles(_) | Inputs::Mapped(_)) => {
            let row = examples.inputs.cols * examples.inputs.element.size();
            other.each_block(0..dataset.len() as u32, dataset.features(), |first, picked| {
                executor.write_bytes_at(&examples.inputs, first * row, picked.bytes())
            })?;
        }
    }
    match &examples.desired {
        Desired::Classes(labels) => executor.write(labels, dataset.labels())?,
        Desired::Numbers(desired) => executor.write(desired, &dataset.desired_numbers())?,
    }
    if let Some(matrix) = &examples.weights {
        let all: Vec<u32> = (0..dataset.len() as u32).collect();
        executor.write(matrix, &dataset.weights(&all).unwrap_or_default())?;
    }
    Ok(())
}

/// Uploads weights and biases.
pub(crate) fn write_parameters(
    executor: &mut dyn Executor,
    matrices: &Matrices,
    parameters: &Parameters,
) -> Result<()> {
    for (l, w) in parameters.w.iter() {
        executor.write(&matrices.w[l], w)?;
        executor.write(&matrices.b[l], &parameters.b[l])?;
    }
    Ok(())
}

/// The examples of a data set as a plan reads them, selected by `order`.
pub fn examples_of(dataset: &Dataset, order: &Matrix) -> Examples {
    let (element, scale) = match dataset.inputs().byte_scale() {
        Some(scale) => (Element::Byte, scale),
        None => (Element::F32, 1.0),
    };
    let desired = match dataset.targets() {
        Targets::Classes(_) => Desired::Classes(Matrix::of(Element::U32, "labels", dataset.len(), 1)),
        Targets::Numbers { width, .. } => Desired::Numbers(Matrix::new("targets", dataset.len(), *width)),
    };
    let inputs = Matrix::of(element, "inputs", dataset.len(), dataset.features());
    let weights = dataset.has_weights().then(|| Matrix::new("example_weights", dataset.len(), 1));
    Examples { order: order.clone(), inputs, scale, desired, weights }
}

/// Downloads weights and biases, or matrices of their shapes.
pub(crate) fn read_parameters(
    executor: &mut dyn Executor,
    w: &Layers<Matrix>,
    b: &Layers<Matrix>,
) -> Result<Parameters> {
    let mut read = |matrices: &Layers<Matrix>| matrices.try_map(|matrix| executor.read(matrix));
    Ok(Parameters { w: read(w)?, b: read(b)? })
}

/// The state of an optimizer: all matrices beside `w[l]` and `b[l]`, layer by layer.
pub(crate) fn states(matrices: &Matrices, optimizer: &Optimizer) -> Vec<Matrix> {
    let parameters = matrices.w.iter().zip(matrices.b.iter()).flat_map(|((_, w), (_, b))| [w, b]);
    parameters.flat_map(|parameter| state_of(optimizer, parameter)).collect()
}
