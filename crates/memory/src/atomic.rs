//! Atomic operations by name: the operators and types of fi_atomic(3), with its numbers.

use crate::element::{Complex, Element, apply};

/// What an atomic operation does to each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The smaller of element and operand.
    Min,
    /// The larger.
    Max,
    /// Their sum; integers wrap.
    Sum,
    /// Their product; integers wrap.
    Prod,
    /// 1 if either is not 0, else 0.
    Lor,
    /// 1 if both are not 0, else 0.
    Land,
    /// Bits set in either.
    Bor,
    /// Bits set in both.
    Band,
    /// 1 if exactly one of them is not 0, else 0.
    Lxor,
    /// Bits set in exactly one.
    Bxor,
    /// The element as it is.
    Read,
    /// The operand.
    Write,
    /// The operand if the comparand equals the element.
    CswapEq,
    /// The operand if the comparand differs from the element.
    CswapNe,
    /// The operand if comparand ≤ element.
    CswapLe,
    /// The operand if comparand < element.
    CswapLt,
    /// The operand if comparand ≥ element.
    CswapGe,
    /// The operand if comparand > element.
    CswapGt,
    /// The operand's bits where the comparand's are set, the element's elsewhere.
    Mswap,
}

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// 8 bits, signed.
    I8,
    /// 8 bits.
    U8,
    /// 16 bits, signed.
    I16,
    /// 16 bits.
    U16,
    /// 32 bits, signed.
    I32,
    /// 32 bits.
    U32,
    /// 64 bits, signed.
    I64,
    /// 64 bits.
    U64,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// Two of single precision: real and imaginary part.
    ComplexF32,
    /// Two of double precision: real and imaginary part.
    ComplexF64,
    /// C's `long double`: no operation exists for it, as its format differs between machines.
    LongDouble,
    /// Two `long double`: no operation exists for it either.
    ComplexLongDouble,
}

const OPERATORS: [Operator; 19] = [
    Operator::Min,
    Operator::Max,
    Operator::Sum,
    Operator::Prod,
    Operator::Lor,
    Operator::Land,
    Operator::Bor,
    Operator::Band,
    Operator::Lxor,
    Operator::Bxor,
    Operator::Read,
    Operator::Write,
    Operator::CswapEq,
    Operator::CswapNe,
    Operator::CswapLe,
    Operator::CswapLt,
    Operator::CswapGe,
    Operator::CswapGt,
    Operator::Mswap,
];

const DATATYPES: [Datatype; 14] = [
    Datatype::I8,
    Datatype::U8,
    Datatype::I16,
    Datatype::U16,
    Datatype::I32,
    Datatype::U32,
    Datatype::I64,
    Datatype::U64,
    Datatype::F32,
    Datatype::F64,
    Datatype::ComplexF32,
    Datatype::ComplexF64,
    Datatype::LongDouble,
    Datatype::ComplexLongDouble,
];

impl Operator {
    /// All operators, each at the place of its code.
    pub const fn all() -> &'static [Self] {
        &OPERATORS
    }

    /// Its number in `enum fi_op` and on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The operator with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        OPERATORS.get(usize::from(code)).copied()
    }

    /// Whether it takes a comparand for each element.
    pub const fn compares(self) -> bool {
        self.code() >= Self::CswapEq.code()
    }

    /// Values for each element that come with it: operand and comparand.
    pub const fn operands(self) -> usize {
        match self {
            Self::Read => 0,
            _ if self.compares() => 2,
            _ => 1,
        }
    }
}

impl Datatype {
    /// All types, each at the place of its code.
    pub const fn all() -> &'static [Self] {
        &DATATYPES
    }

    /// Its number in `enum fi_datatype` and on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The type with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        DATATYPES.get(usize::from(code)).copied()
    }

    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 | Self::ComplexF32 => 8,
            Self::ComplexF64 | Self::LongDouble => 16,
            Self::ComplexLongDouble => 32,
        }
    }
}

/// An operator and the type it works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Atomic {
    /// What to do.
    pub operator: Operator,
    /// To what.
    pub datatype: Datatype,
}

impl Atomic {
    /// Whether the operator exists for the type: bits are for integers, order and extremes not
    /// for complex numbers, and nothing for `long double`.
    pub const fn is_supported(self) -> bool {
        use Operator as O;
        match self.datatype {
            Datatype::LongDouble | Datatype::ComplexLongDouble => false,
            Datatype::F32 | Datatype::F64 => {
                !matches!(self.operator, O::Bor | O::Band | O::Bxor | O::Mswap)
            }
            Datatype::ComplexF32 | Datatype::ComplexF64 => matches!(
                self.operator,
                O::Sum
                    | O::Prod
                    | O::Lor
                    | O::Land
                    | O::Lxor
                    | O::Read
                    | O::Write
                    | O::CswapEq
                    | O::CswapNe
            ),
            _ => true,
        }
    }

    /// Bytes of the operands, comparands included, for `count` elements.
    pub const fn operand_bytes(self, count: usize) -> usize {
        count * self.datatype.size() * self.operator.operands()
    }

    /// Changes the elements in `target`; `operands` has the length [`Self::operand_bytes`] says.
    pub(crate) fn apply(self, target: &mut [u8], operands: &[u8]) {
        assert!(self.is_supported(), "{:?} does not exist for {:?}", self.operator, self.datatype);
        match self.datatype {
            Datatype::I8 => self.each::<i8, 1>(target, operands),
            Datatype::U8 => self.each::<u8, 1>(target, operands),
            Datatype::I16 => self.each::<i16, 2>(target, operands),
            Datatype::U16 => self.each::<u16, 2>(target, operands),
            Datatype::I32 => self.each::<i32, 4>(target, operands),
            Datatype::U32 => self.each::<u32, 4>(target, operands),
            Datatype::I64 => self.each::<i64, 8>(target, operands),
            Datatype::U64 => self.each::<u64, 8>(target, operands),
            Datatype::F32 => self.each::<f32, 4>(target, operands),
            Datatype::F64 => self.each::<f64, 8>(target, operands),
            Datatype::ComplexF32 => self.each::<Complex<f32>, 8>(target, operands),
            Datatype::ComplexF64 => self.each::<Complex<f64>, 16>(target, operands),
            Datatype::LongDouble | Datatype::ComplexLongDouble => {}
        }
    }

    /// The operand and the comparand of element `index`, one after the other, as [`Self::apply`]
    /// wants them for one element; they are put into `room`.
    pub(crate) fn operands_of<'a>(
        self,
        index: usize,
        count: usize,
        operands: &[u8],
        room: &'a mut [u8; 64],
    ) -> &'a [u8] {
        let size = self.datatype.size();
        let values = self.operator.operands();
        for value in 0..values {
            let from = (value * count + index) * size;
            room[value * size..(value + 1) * size].copy_from_slice(&operands[from..from + size]);
        }
        &room[..values * size]
    }

    fn each<T: Element<SIZE>, const SIZE: usize>(self, target: &mut [u8], operands: &[u8]) {
        // A read has no operands, a plain operator no comparands: the element stands in for both.
        let (operands, comparands) = operands.split_at(operands.len().min(target.len()));
        for (index, bytes) in target.chunks_exact_mut(SIZE).enumerate() {
            let element = load::<T, SIZE>(bytes);
            let at = index * SIZE..(index + 1) * SIZE;
            let operand = operands.get(at.clone()).map_or(element, load);
            let comparand = comparands.get(at).map_or(element, load);
            bytes.copy_from_slice(&apply(self.operator, element, operand, comparand).to_bytes());
        }
    }
}

fn load<T: Element<SIZE>, const SIZE: usize>(bytes: &[u8]) -> T {
    let mut array = [0; SIZE];
    array.copy_from_slice(bytes);
    T::from_bytes(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(operator: Operator, datatype: Datatype, target: &[u8], operands: &[u8]) -> Vec<u8> {
        let mut target = target.to_vec();
        Atomic { operator, datatype }.apply(&mut target, operands);
        target
    }

    fn integers(operator: Operator, element: i32, operand: i32, comparand: i32) -> i32 {
        let mut operands = operand.to_le_bytes().to_vec();
        if operator.compares() {
            operands.extend_from_slice(&comparand.to_le_bytes());
        }
        let changed = run(operator, Datatype::I32, &element.to_le_bytes(), &operands);
        i32::from_le_bytes(changed.try_into().unwrap())
    }

    #[test]
    fn codes_are_positions_and_lead_back() {
        assert!(Operator::all().iter().all(|&o| Operator::from_code(o.code()) == Some(o)));
        assert!(Datatype::all().iter().all(|&d| Datatype::from_code(d.code()) == Some(d)));
        assert_eq!(Operator::from_code(19), None);
        assert_eq!(Datatype::from_code(14), None);
        assert_eq!((Operator::Mswap.code(), Datatype::ComplexLongDouble.code()), (18, 13));
    }

    #[test]
    fn integer_operators_do_what_their_names_say() {
        use Operator as O;
        assert_eq!(integers(O::Min, 3, -4, 0), -4);
        assert_eq!(integers(O::Max, 3, -4, 0), 3);
        assert_eq!(integers(O::Sum, i32::MAX, 1, 0), i32::MIN);
        assert_eq!(integers(O::Prod, 7, -6, 0), -42);
        assert_eq!(integers(O::Lor, 0, 8, 0), 1);
        assert_eq!(integers(O::Land, 4, 8, 0), 1);
        assert_eq!(integers(O::Land, 4, 0, 0), 0);
        assert_eq!(integers(O::Lxor, 4, 8, 0), 0);
        assert_eq!(integers(O::Bor, 0b0101, 0b0011, 0), 0b0111);
        assert_eq!(integers(O::Band, 0b0101, 0b0011, 0), 0b0001);
        assert_eq!(integers(O::Bxor, 0b0101, 0b0011, 0), 0b0110);
        assert_eq!(integers(O::Write, 5, 9, 0), 9);
        assert_eq!(run(O::Read, Datatype::U16, &[1, 2], &[]), [1, 2]);
        assert_eq!(integers(O::Mswap, 0b0101, 0b1010, 0b0011), 0b0110);
    }

    #[test]
    fn comparing_operators_swap_when_comparand_and_element_compare_so() {
        use Operator as O;
        // For comparand below, equal to and above the element.
        let cases = [
            (O::CswapEq, [false, true, false]),
            (O::CswapNe, [true, false, true]),
            (O::CswapLe, [true, true, false]),
            (O::CswapLt, [true, false, false]),
            (O::CswapGe, [false, true, true]),
            (O::CswapGt, [false, false, true]),
        ];
        for (operator, swaps) in cases {
            for (comparand, swapped) in [4, 5, 6].into_iter().zip(swaps) {
                let wanted = if swapped { 99 } else { 5 };
                assert_eq!(integers(operator, 5, 99, comparand), wanted, "{operator:?}");
            }
        }
    }

    #[test]
    fn floats_and_complex_numbers_compute_by_element() {
        use Operator as O;
        let floats = |values: &[f64]| -> Vec<u8> {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        let sum = run(O::Sum, Datatype::F64, &floats(&[1.5, 2.0]), &floats(&[0.25, -3.0]));
        assert_eq!(sum, floats(&[1.75, -1.0]));
        let max = run(O::Max, Datatype::F64, &floats(&[1.5]), &floats(&[f64::NAN]));
        assert_eq!(max, floats(&[1.5]), "nothing is larger than what it cannot be compared with");
        // (1 + 2i)(3 - i) = 5 + 5i
        let product =
            run(O::Prod, Datatype::ComplexF64, &floats(&[1.0, 2.0]), &floats(&[3.0, -1.0]));
        assert_eq!(product, floats(&[5.0, 5.0]));
        let swapped = run(
            O::CswapEq,
            Datatype::ComplexF64,
            &floats(&[1.0, 2.0]),
            &floats(&[8.0, 9.0, 1.0, 2.0]),
        );
        assert_eq!(swapped, floats(&[8.0, 9.0]));
    }

    #[test]
    fn every_supported_pair_runs_and_the_others_say_so() {
        let mut supported = 0;
        for &operator in Operator::all() {
            for &datatype in Datatype::all() {
                let atomic = Atomic { operator, datatype };
                if atomic.is_supported() {
                    supported += 1;
                    let operands = vec![1; atomic.operand_bytes(3)];
                    atomic.apply(&mut vec![2; 3 * datatype.size()], &operands);
                }
            }
        }
        assert_eq!(supported, 8 * 19 + 2 * 15 + 2 * 9);
    }
}
