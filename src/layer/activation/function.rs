//! The functions, as coefficients of one form.

use serde::{Deserialize, Serialize};

/// f of every element, computed as `x / (1 + exp(x P(min(x^2, limit))))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Function {
    /// `x / (1 + exp(-x))`; P = -1.
    Silu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`; P of degree 1, exact but for rounding.
    GeluTanh,
    /// `x / 2 (1 + erf(x / sqrt(2)))`; P of degree 6 approximates it within 7e-8 for every x, less than f32
    /// rounds a result of 1 by.
    GeluErf,
}

/// Most coefficients of P.
pub(super) const MAX_COEFFICIENTS: usize = 8;

/// What a kernel is told of a function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Polynomial {
    pub(super) degree: u32,
    /// Of x^2.
    pub(super) limit: f32,
    /// Of 1, x^2, x^4, ...
    pub(super) coefficients: [f32; MAX_COEFFICIENTS],
}

impl Function {
    /// The name in texts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu with tanh",
            Self::GeluErf => "gelu with erf",
        }
    }

    pub(super) fn polynomial(self) -> Polynomial {
        let of = |limit: f32, given: &[f32]| {
            let mut coefficients = [0.0; MAX_COEFFICIENTS];
            coefficients.iter_mut().zip(given).for_each(|(to, c)| *to = *c);
            let degree = u32::try_from(given.len()).unwrap_or(1) - 1;
            Polynomial { degree, limit, coefficients }
        };
        match self {
            Self::Silu => of(f32::MAX, &[-1.0]),
            // 1 + tanh(a) = 2 / (1 + exp(-2a)), with 2 sqrt(2 / pi) and 0.044715 times that.
            Self::GeluTanh => of(f32::MAX, &[-1.595_769_2, -0.071_354_814]),
            // -ln(Phi(x) / Phi(-x)) / x, with Phi the normal distribution, is even and smooth. Fitted by
            // weighted least squares to the smallest largest error of f on |x| <= 5.25. Behind that f(x) is x
            // or less than 1e-6 away from 0, and the polynomial stays at its last value.
            Self::GeluErf => of(
                5.25 * 5.25,
                &[
                    -1.595_768_5,
                    -0.072_668_57,
                    6.626_025e-5,
                    1.104_802_3e-4,
                    -7.938_206e-6,
                    2.668_919_6e-7,
                    -3.611_211_3e-9,
                ],
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form in f64, with the coefficients as they are.
    fn form(function: Function, x: f64) -> f64 {
        let p = function.polynomial();
        let square = (x * x).min(p.limit.into());
        let polynomial = p.coefficients.iter().rev().fold(0.0, |sum, c| sum * square + f64::from(*c));
        x / (1.0 + (x * polynomial).exp())
    }

    /// Phi(x) as a series for small |x| and a continued fraction for others.
    fn phi(x: f64) -> f64 {
        let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if x.abs() < 4.0 {
            let (mut term, mut sum, mut n) = (x, x, 1.0);
            while term.abs() > 1e-18 {
                n += 2.0;
                term *= x * x / n;
                sum += term;
            }
            return 0.5 + density * sum;
        }
        let tail = density / (1..200).rev().fold(x.abs(), |below, n| x.abs() + f64::from(n) / below);
        if x > 0.0 {
            1.0 - tail
        } else {
            tail
        }
    }

    #[test]
    fn the_form_is_the_function() {
        let mut worst: [f64; 3] = [0.0; 3];
        for i in -20_000..=20_000 {
            let x = f64::from(i) / 1000.0;
            let wanted = [
                (Function::Silu, x / (1.0 + (-x).exp())),
                (
                    Function::GeluTanh,
                    x / 2.0
                        * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
                ),
                (Function::GeluErf, x * phi(x)),
            ];
            for (worst, (function, wanted)) in worst.iter_mut().zip(wanted) {
                *worst = worst.max((form(function, x) - wanted).abs());
            }
        }
        assert!(worst[0] < 1e-15 && worst[1] < 5e-8 && worst[2] < 7.5e-8, "{worst:?}");
    }
}
