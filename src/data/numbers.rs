//! Types of numbers in arrays, and their decoding: one table for all formats and for mapped files.

/// Element type of an array: a number type and a byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element {
    /// Type of the numbers.
    pub number: Number,
    /// True for big-endian, false for little-endian.
    pub big_endian: bool,
}

/// Declares the number types, with the code that is the same for each of them.
macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        /// Type of a number.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Number {
            $(
                #[doc = concat!("`", stringify!($type), "`.")]
                $name,
            )*
        }

        impl Number {
            /// Bytes of a number.
            pub fn size(self) -> usize {
                match self {
                    $(Number::$name => size_of::<$type>(),)*
                }
            }
        }

        impl Element {
            /// Decodes numbers until `to` is full; `convert` takes each as an `f64`, which all but the largest
            /// 64-bit integers fit exactly.
            pub fn decode<T>(self, bytes: &[u8], to: &mut [T], convert: impl Fn(f64) -> T) {
                match (self.number, self.big_endian) {
                    $(
                        (Number::$name, false) => each(bytes, to, |bytes| convert(<$type>::from_le_bytes(bytes) as f64)),
                        (Number::$name, true) => each(bytes, to, |bytes| convert(<$type>::from_be_bytes(bytes) as f64)),
                    )*
                }
            }
        }
    };
}

numbers!(U8: u8, I8: i8, U16: u16, I16: i16, U32: u32, I32: i32, U64: u64, I64: i64, F32: f32, F64: f64);

impl Number {
    /// True if 32-bit floats hold all numbers of this type exactly.
    pub fn fits_f32(self) -> bool {
        matches!(self, Number::U8 | Number::I8 | Number::U16 | Number::I16 | Number::F32)
    }
}

fn each<T, const N: usize>(bytes: &[u8], to: &mut [T], number: impl Fn([u8; N]) -> T) {
    to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &bytes)| *to = number(bytes));
}

#[cfg(test)]
mod tests {
    use super::{Element, Number};

    fn decoded(number: Number, big_endian: bool, bytes: &[u8]) -> Vec<f64> {
        let mut values = vec![0.0; bytes.len() / number.size()];
        Element { number, big_endian }.decode(bytes, &mut values, |x| x);
        values
    }

    #[test]
    fn numbers_are_decoded_in_both_orders_of_bytes() {
        assert_eq!(decoded(Number::U8, true, &[0, 200, 255]), [0.0, 200.0, 255.0]);
        assert_eq!(decoded(Number::I8, false, &[0, 200, 255]), [0.0, -56.0, -1.0]);
        assert_eq!(decoded(Number::U16, false, &[1, 2, 255, 255]), [513.0, 65535.0]);
        assert_eq!(decoded(Number::I16, true, &[1, 2, 255, 254]), [258.0, -2.0]);
        assert_eq!(decoded(Number::U32, true, &[0, 0, 1, 0]), [256.0]);
        assert_eq!(decoded(Number::I32, false, &(-7i32).to_le_bytes()), [-7.0]);
        assert_eq!(decoded(Number::U64, false, &u64::MAX.to_le_bytes()), [18_446_744_073_709_551_616.0]);
        assert_eq!(decoded(Number::I64, true, &i64::MIN.to_be_bytes()), [-9_223_372_036_854_775_808.0]);
        assert_eq!(decoded(Number::F32, true, &1.5f32.to_be_bytes()), [1.5]);
        assert_eq!(decoded(Number::F64, false, &0.1f64.to_le_bytes()), [0.1]);
        assert!(Number::U16.fits_f32() && Number::F32.fits_f32() && !Number::I32.fits_f32());
    }
}
