//! Agreement of the ranks of a training: they start with the same state, keep the same state, and fail together.

use anyhow::{Result, anyhow};
use sha2::{Digest, Sha256};

use super::circumstances::Circumstances;
use super::state::{Found, State};
use super::{Flags, Options, Requested};
use crate::model::checkpoint;
use crate::network::optimizer::Optimizer;
use crate::network::{Parameters, Topology};
use crate::ranks::Ranks;
use crate::system::error::{AgreedOn, WrongUsage};

/// The options of one of several ranks; only the first rank writes files.
pub fn of_rank(options: &Options) -> Options {
    let ranks = &options.ranks;
    let mut own = options.clone();
    if ranks.count() == 1 {
        return own;
    }
    own.fall_back_to_cpu = false;
    own.requested = Requested { watch: options.requested.watch || options.run.is_some(), ..own.requested };
    own.device = own.device.of_rank(&**ranks);
    if !ranks.is_first() {
        (own.output, own.run) = (None, None);
    }
    own
}

/// The result if every rank succeeded; otherwise, on every rank, the error of the first rank that failed.
///
/// # Errors
/// The error of any rank.
pub fn agree<T>(ranks: &dyn Ranks, result: Result<T>) -> Result<T> {
    if ranks.count() == 1 {
        return result;
    }
    let said = match &result {
        Ok(_) => Vec::new(),
        Err(error) => {
            let code = if error.chain().any(|cause| cause.is::<WrongUsage>()) { 2 } else { 1 };
            [&[code][..], format!("{error:#}").as_bytes()].concat()
        }
    };
    let all = ranks.share(&said);
    let failed = all.iter().enumerate().find_map(|(rank, said)| Some((rank, said.split_first()?)));
    let Some((rank, (&code, text))) = failed else { return result };
    let text = String::from_utf8_lossy(text);
    // An error of rank 0 may have occurred on other ranks too.
    let text = if rank == 0 { text.into_owned() } else { format!("rank {rank}: {text}") };
    Err(AgreedOn { text, code }.into())
}

/// Checks that named byte strings are the same on all ranks.
///
/// # Errors
/// The first one that differs, and the rank where it differs from rank 0.
pub fn compare(ranks: &dyn Ranks, things: &[(String, Vec<u8>)]) -> Result<()> {
    if ranks.count() == 1 {
        return Ok(());
    }
    let hashes: Vec<u8> = things.iter().flat_map(|(_, bytes)| Sha256::digest(bytes).to_vec()).collect();
    let all = ranks.share(&hashes);
    for (i, (name, _)) in things.iter().enumerate() {
        let of = |rank: usize| all[rank].get(i * Sha256::output_size()..(i + 1) * Sha256::output_size());
        if let Some(rank) = (1..ranks.count()).find(|&rank| of(rank) != of(0)) {
            let text = format!("rank {rank} does not have the same {name} as rank 0");
            return Err(AgreedOn { text, code: 1 }.into());
        }
    }
    Ok(())
}

/// Checks that all ranks have the same parameters.
///
/// # Errors
/// The first matrix that differs.
pub fn compare_parameters(ranks: &dyn Ranks, parameters: &Parameters, when: &str) -> Result<()> {
    if ranks.count() == 1 {
        return Ok(());
    }
    let named =
        parameters.iter().map(|(name, values)| (format!("{name} {when}"), bytemuck::cast_slice(values).to_vec()));
    compare(ranks, &named.collect::<Vec<_>>())
}

/// Checks that all ranks start with the same program, data, flags and parameters.
///
/// # Errors
/// The first thing that differs.
pub fn compare_beginnings(
    ranks: &dyn Ranks,
    circumstances: &Circumstances,
    flags: &Flags,
    parameters: &Parameters,
) -> Result<()> {
    let Circumstances { program_version, data_sha256, device, .. } = circumstances;
    let things = [
        ("version of gpu-backprop", program_version),
        ("data", data_sha256),
        ("flags", &format!("{flags:?}")),
        ("kind of device (--device)", device),
        // Different vector instructions may give different bits.
        ("kind of processor", &format!("{} {:?}", std::env::consts::ARCH, pulp::Arch::new())),
    ];
    let things = things.map(|(name, text)| (name.to_string(), text.clone().into_bytes()));
    compare(ranks, &things)?;
    compare_parameters(ranks, parameters, "before training")
}

/// The state of rank 0, sent to all ranks.
///
/// # Errors
/// A state that does not belong to such a training.
pub fn of_first(
    ranks: &dyn Ranks,
    state: State,
    circumstances: &Circumstances,
    (topology, optimizer): (&Topology, &Optimizer),
) -> Result<State> {
    if ranks.count() == 1 {
        return Ok(state);
    }
    let encoded = if ranks.is_first() { state.encode(circumstances, optimizer)? } else { Vec::new() };
    let encoded = ranks.broadcast(encoded);
    if ranks.is_first() {
        return Ok(state);
    }
    let contents = checkpoint::decode(&encoded).map_err(|error| anyhow!("the checkpoint of rank 0: {error:#}"))?;
    Found::new(contents)?.state(topology, optimizer)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::network::{Initialization, Topology, activation, cost};

    /// Two ranks, of which the first has already sent its data.
    #[derive(Debug)]
    struct Second(Vec<u8>);

    impl Ranks for Second {
        fn rank(&self) -> usize {
            1
        }
        fn count(&self) -> usize {
            2
        }
        fn on_this_machine(&self) -> (usize, usize) {
            (2, 1)
        }
        fn all_to_all(&self, _: &[f32], _: &[Range<usize>], _: usize, _: &mut [f32]) {}
        fn all_gather(&self, _: &[f32], _: &[Range<usize>], _: &mut [f32]) {}
        fn share(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
            vec![self.0.clone(), bytes.to_vec()]
        }
        fn broadcast(&self, _: Vec<u8>) -> Vec<u8> {
            self.0.clone()
        }
        fn send(&self, _: usize, _: &[u8]) {}
        fn receive(&self, _: Option<usize>) -> (usize, Vec<u8>) {
            (0, self.0.clone())
        }
        fn abort(&self, code: i32) -> ! {
            panic!("aborted with {code}")
        }
    }

    #[test]
    fn the_first_matrix_that_differs_is_named() {
        let topology = Topology::new(&[4, 3, 2], &activation::SIGMOID, &cost::QUADRATIC).expect("a network");
        let parameters = Parameters::random(&topology, Initialization::Scaled, 0).expect("memory");
        let hashes = |parameters: &Parameters| -> Vec<u8> {
            parameters
                .iter()
                .flat_map(|(_, values)| Sha256::digest(bytemuck::cast_slice::<f32, u8>(values)).to_vec())
                .collect()
        };
        let first = Second(hashes(&parameters));
        compare_parameters(&first, &parameters, "after epoch 3").expect("they are the same");
        let mut other = parameters.clone();
        other.w[3][1] += 1e-6;
        other.b[3][0] += 1e-6;
        let error = compare_parameters(&first, &other, "after epoch 3").expect_err("they differ");
        assert_eq!(error.to_string(), "rank 1 does not have the same w3 after epoch 3 as rank 0");
    }

    #[test]
    fn the_first_error_is_that_of_all() {
        let error = agree(&Second(b"\x02--eta -1: too low".to_vec()), Ok(())).expect_err("rank 0 failed");
        assert_eq!(error.downcast_ref(), Some(&AgreedOn { text: "--eta -1: too low".to_string(), code: 2 }));
        let error = agree::<()>(&Second(Vec::new()), Err(WrongUsage::new("--eta -1").into())).expect_err("it failed");
        assert_eq!(error.downcast_ref(), Some(&AgreedOn { text: "rank 1: --eta -1".to_string(), code: 2 }));
        assert_eq!(agree(&Second(Vec::new()), Ok(5)).expect("no error"), 5);
    }
}
