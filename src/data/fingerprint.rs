//! The hash by which a run recognises its data.

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::Data;
use super::targets::Targets;
use crate::system::text::hexadecimal;

impl Data {
    /// SHA-256, in hexadecimal, of the inputs, targets, weights and splits of all examples, and of
    /// the preprocessing.
    ///
    /// # Errors
    /// A mapped file that has been truncated.
    pub fn sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        let dataset = &self.dataset;
        let all = 0..dataset.len() as u32;
        hash.update(serde_json::to_vec(&(dataset.len(), dataset.preprocessing(), dataset.outputs()))?);
        dataset.inputs().each_block(all.clone(), dataset.features(), |_, picked| {
            hash.update(picked.bytes());
            Ok(())
        })?;
        match dataset.targets() {
            Targets::Classes(labels) => hash.update(bytemuck::cast_slice::<_, u8>(labels)),
            Targets::Numbers { .. } => hash.update(bytemuck::cast_slice::<_, u8>(&dataset.desired_numbers())),
        }
        if let Some(weights) = dataset.weights(&all.collect::<Vec<_>>()) {
            hash.update(bytemuck::cast_slice::<_, u8>(&weights));
        }
        for part in [&self.split.training, &self.split.validation, &self.split.test] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(bytemuck::cast_slice::<_, u8>(part));
        }
        Ok(hexadecimal(&hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Inputs, Split};

    #[test]
    fn every_part_of_the_data_counts() {
        let data = |inputs: [f32; 4], labels: [u32; 4], weights: [f32; 2], split: Split| {
            let dataset = Dataset::new(Inputs::Floats(inputs.into()), 1, labels.into()).expect("a data set");
            let dataset = dataset.weighted(weights.into()).expect("two classes");
            Data::new("data", dataset, split).sha256().expect("it is in memory")
        };
        let all = || Split::all_training(0..4);
        let first = data([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], [1.0, 2.0], all());
        assert_eq!(first, data([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], [1.0, 2.0], all()));
        assert_eq!(first.len(), 64);
        let part = Split { training: vec![0, 1, 2], validation: vec![3], test: Vec::new() };
        for other in [
            data([0.0, 1.0, 2.0, 4.0], [0, 1, 0, 1], [1.0, 2.0], all()),
            data([0.0, 1.0, 2.0, 3.0], [0, 1, 1, 1], [1.0, 2.0], all()),
            data([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], [1.0, 3.0], all()),
            data([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], [1.0, 2.0], part),
        ] {
            assert_ne!(first, other);
        }
    }
}
