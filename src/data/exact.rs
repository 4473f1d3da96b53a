//! Numbers in 32 bits if these hold them exactly, otherwise in 64.

use anyhow::{Result, anyhow};

use super::inputs::Inputs;

/// The numbers of an array: in 32 bits until one of them is not exact in 32 bits, then all in 64.
#[derive(Debug)]
pub(super) enum Exact {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
}

impl Exact {
    /// `count` zeros.
    ///
    /// # Errors
    /// More than memory holds.
    pub fn zeros(count: usize) -> Result<Self> {
        Ok(Exact::Floats(zeros(count)?))
    }

    /// Sets the numbers `at(0)`, `at(1)`, ....
    ///
    /// # Errors
    /// As [`Exact::zeros`].
    pub fn set(&mut self, numbers: &[f64], at: impl Fn(usize) -> usize) -> Result<()> {
        if let Exact::Floats(narrow) = self
            && !numbers.iter().all(|&x| is_f32(x))
        {
            let mut wide = zeros(narrow.len())?;
            wide.iter_mut().zip(narrow).for_each(|(wide, narrow)| *wide = f64::from(*narrow));
            *self = Exact::Doubles(wide);
        }
        for (i, &x) in numbers.iter().enumerate() {
            match self {
                Exact::Floats(values) => values[at(i)] = x as f32,
                Exact::Doubles(values) => values[at(i)] = x,
            }
        }
        Ok(())
    }
}

impl From<Exact> for Inputs {
    fn from(numbers: Exact) -> Self {
        match numbers {
            Exact::Floats(values) => Inputs::Floats(values),
            Exact::Doubles(values) => Inputs::Doubles(values),
        }
    }
}

/// True if 32 bits hold a number exactly; NaN counts as exact.
fn is_f32(x: f64) -> bool {
    f64::from(x as f32) == x || x.is_nan()
}

/// A vector of zeros, if there is memory for it.
pub(super) fn zeros<T: Clone + Default>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let room = values.try_reserve_exact(count);
    room.map_err(|_| anyhow!("its {count} entries are more than memory can hold"))?;
    values.resize(count, T::default());
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_64_bits_only_where_they_need_them() {
        let mut numbers = Exact::zeros(5).expect("memory");
        numbers.set(&[16_777_216.0, -0.5, f64::INFINITY], |i| 4 - i).expect("memory");
        let Exact::Floats(narrow) = &numbers else { panic!("{numbers:?}") };
        assert_eq!(narrow, &[0.0, 0.0, f32::INFINITY, -0.5, 16_777_216.0]);
        numbers.set(&[16_777_217.0, 0.1], |i| i).expect("memory");
        let inputs = Inputs::from(numbers);
        assert_eq!(inputs, Inputs::Doubles(vec![16_777_217.0, 0.1, f64::INFINITY, -0.5, 16_777_216.0]));
        assert!(!is_f32(1e300) && is_f32(f64::NAN));
    }
}
