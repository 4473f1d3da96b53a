//! Storage buffers of kernels.

use super::matrix::Element;

/// One storage buffer of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The name of the variable in the shader.
    pub name: &'static str,
    /// The type of its entries.
    pub element: Element,
    /// The way the kernel uses it.
    pub access: Access,
}

impl Binding {
    /// A buffer of floats that is only read.
    pub const fn read(name: &'static str) -> Self {
        Self::read_of(Element::F32, name)
    }

    /// A buffer of `element`s that is only read.
    pub const fn read_of(element: Element, name: &'static str) -> Self {
        Binding { name, element, access: Access::Read }
    }

    /// A buffer of floats that is overwritten.
    pub const fn write(name: &'static str) -> Self {
        Binding { name, element: Element::F32, access: Access::Write }
    }

    /// A buffer of floats that is changed in place.
    pub const fn update(name: &'static str) -> Self {
        Binding { name, element: Element::F32, access: Access::Update }
    }
}

/// The way a kernel uses a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`, whose old entries do not matter.
    Write,
    /// `var<storage, read_write>`, changed in place.
    Update,
}

impl Access {
    /// True where the buffer is written.
    pub fn writes(self) -> bool {
        self != Access::Read
    }
}
