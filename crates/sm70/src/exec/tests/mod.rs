//! What single instructions compute, against values worked out by hand or by another formula.

mod alu;
mod mma;
mod wavefronts;
