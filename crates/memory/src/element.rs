//! Elements of atomic operations and what the operators do to them.

use crate::Operator;

/// A number that atomic operations work on, of `SIZE` bytes.
pub(crate) trait Element<const SIZE: usize>: Copy + PartialOrd {
    fn from_bytes(bytes: [u8; SIZE]) -> Self;
    fn to_bytes(self) -> [u8; SIZE];
    fn truth(value: bool) -> Self;
    fn is_true(self) -> bool;
    fn sum(self, other: Self) -> Self;
    fn product(self, other: Self) -> Self;
    /// Bitwise operators exist for integers only; others return themselves.
    fn or(self, _other: Self) -> Self {
        self
    }
    fn and(self, _other: Self) -> Self {
        self
    }
    fn xor(self, _other: Self) -> Self {
        self
    }
    fn masked(self, _other: Self, _mask: Self) -> Self {
        self
    }
}

/// What becomes of `element`.
pub(crate) fn apply<T: Element<SIZE>, const SIZE: usize>(
    operator: Operator,
    element: T,
    operand: T,
    comparand: T,
) -> T {
    let operand_if = |condition| if condition { operand } else { element };
    match operator {
        Operator::Min => operand_if(operand < element),
        Operator::Max => operand_if(operand > element),
        Operator::Sum => element.sum(operand),
        Operator::Prod => element.product(operand),
        Operator::Lor => T::truth(element.is_true() || operand.is_true()),
        Operator::Land => T::truth(element.is_true() && operand.is_true()),
        Operator::Lxor => T::truth(element.is_true() != operand.is_true()),
        Operator::Bor => element.or(operand),
        Operator::Band => element.and(operand),
        Operator::Bxor => element.xor(operand),
        Operator::Read => element,
        Operator::Write => operand,
        Operator::CswapEq => operand_if(comparand == element),
        Operator::CswapNe => operand_if(comparand != element),
        Operator::CswapLe => operand_if(comparand <= element),
        Operator::CswapLt => operand_if(comparand < element),
        Operator::CswapGe => operand_if(comparand >= element),
        Operator::CswapGt => operand_if(comparand > element),
        Operator::Mswap => element.masked(operand, comparand),
    }
}

macro_rules! integers {
    ($($type:ty, $size:literal;)*) => {$(
        impl Element<$size> for $type {
            fn from_bytes(bytes: [u8; $size]) -> Self {
                Self::from_le_bytes(bytes)
            }
            fn to_bytes(self) -> [u8; $size] {
                self.to_le_bytes()
            }
            fn truth(value: bool) -> Self {
                value.into()
            }
            fn is_true(self) -> bool {
                self != 0
            }
            fn sum(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn product(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn or(self, other: Self) -> Self {
                self | other
            }
            fn and(self, other: Self) -> Self {
                self & other
            }
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            fn masked(self, other: Self, mask: Self) -> Self {
                other & mask | self & !mask
            }
        }
    )*};
}

integers! {
    i8, 1; u8, 1; i16, 2; u16, 2; i32, 4; u32, 4; i64, 8; u64, 8;
}

/// A complex number. It has no order; none is asked for.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Complex<T> {
    real: T,
    imaginary: T,
}

macro_rules! floats {
    ($($type:ty, $size:literal, $double:literal;)*) => {$(
        impl Element<$size> for $type {
            fn from_bytes(bytes: [u8; $size]) -> Self {
                Self::from_le_bytes(bytes)
            }
            fn to_bytes(self) -> [u8; $size] {
                self.to_le_bytes()
            }
            fn truth(value: bool) -> Self {
                u8::from(value).into()
            }
            fn is_true(self) -> bool {
                self != 0.0
            }
            fn sum(self, other: Self) -> Self {
                self + other
            }
            fn product(self, other: Self) -> Self {
                self * other
            }
        }

        impl Element<$double> for Complex<$type> {
            fn from_bytes(bytes: [u8; $double]) -> Self {
                let (mut real, mut imaginary) = ([0; $size], [0; $size]);
                real.copy_from_slice(&bytes[..$size]);
                imaginary.copy_from_slice(&bytes[$size..]);
                let (real, imaginary) =
                    (<$type>::from_le_bytes(real), <$type>::from_le_bytes(imaginary));
                Self { real, imaginary }
            }
            fn to_bytes(self) -> [u8; $double] {
                let mut bytes = [0; $double];
                bytes[..$size].copy_from_slice(&self.real.to_le_bytes());
                bytes[$size..].copy_from_slice(&self.imaginary.to_le_bytes());
                bytes
            }
            fn truth(value: bool) -> Self {
                Self { real: u8::from(value).into(), imaginary: 0.0 }
            }
            fn is_true(self) -> bool {
                self.real != 0.0 || self.imaginary != 0.0
            }
            fn sum(self, other: Self) -> Self {
                Self {
                    real: self.real + other.real,
                    imaginary: self.imaginary + other.imaginary,
                }
            }
            fn product(self, other: Self) -> Self {
                Self {
                    real: self.real * other.real - self.imaginary * other.imaginary,
                    imaginary: self.real * other.imaginary + self.imaginary * other.real,
                }
            }
        }
    )*};
}

floats! {
    f32, 4, 8; f64, 8, 16;
}
