//! Inputs that were gathered for a device, and their scaling.

/// The inputs of some examples, one after the other, in the form that devices hold.
#[derive(Clone, PartialEq, Debug)]
pub enum Picked {
    /// Bytes, which the device scales.
    Bytes(Vec<u8>),
    /// Activations.
    Floats(Vec<f32>),
}

impl Picked {
    /// These inputs as the bytes of a matrix.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Picked::Bytes(values) => values,
            Picked::Floats(values) => bytemuck::cast_slice(values),
        }
    }

    /// An empty vector of bytes, which reuses memory if possible.
    pub(super) fn cleared_bytes(&mut self) -> &mut Vec<u8> {
        if !matches!(self, Picked::Bytes(_)) {
            *self = Picked::Bytes(Vec::new());
        }
        let Picked::Bytes(values) = self else { unreachable!("it was just made") };
        values.clear();
        values
    }

    /// An empty vector of floats, which reuses memory if possible.
    pub(super) fn cleared_floats(&mut self) -> &mut Vec<f32> {
        if !matches!(self, Picked::Floats(_)) {
            *self = Picked::Floats(Vec::new());
        }
        let Picked::Floats(values) = self else { unreachable!("it was just made") };
        values.clear();
        values
    }
}

impl Default for Picked {
    fn default() -> Self {
        Picked::Bytes(Vec::new())
    }
}

/// The activation of a number: (x − offset) · scale.
pub(super) fn scaled((offset, scale): (f64, f64), x: f64) -> f32 {
    ((x - offset) * scale) as f32
}
