//! Exchanges between lanes and votes, against CUDA's description of `__shfl_*_sync` with a width.

use super::kernel::right;

/// What `shfl.sync.<mode>` by `by` gives each lane of a warp for segments of `width`: the source lane, and
/// 100 more where the predicate says that it is not within the segment.
fn exchange(mode: &str, by: u32, width: u32) -> Vec<u32> {
    let bound = if mode == "up" { 0 } else { 31 };
    let clamp = (32 - width) << 8 | bound;
    let body = format!(
        "mov.u32 %r10, {by}; mov.u32 %r11, {clamp}; mov.u32 %r12, -1; mov.u32 %r13, 0;
         shfl.sync.{mode}.b32 %r5|%p2, %r2, %r10, %r11, %r12;
         @!%p2 mov.u32 %r13, 100;
         add.s32 %r5, %r5, %r13;
         st.global.u32 [%rd5], %r5;
         setp.ge.u32 %p3, %r2, 32; @!%p3 bra L; ret; L:
         mov.u32 %r14, %r2; M: add.s32 %r14, %r14, 32; setp.ge.u32 %p4, %r14, 256; @%p4 ret;
         mul.wide.u32 %rd7, %r14, 4; add.s64 %rd8, %rd2, %rd7; st.global.u32 [%rd8], %r2; bra M;"
    );
    right(&body, 1, 32).0.unwrap()[..32].to_vec()
}

#[test]
fn sources_of_every_lane() {
    for width in [32, 16, 8] {
        for by in [0, 1, 5, 9] {
            for mode in ["bfly", "up", "down", "idx"] {
                let wanted: Vec<u32> = (0..32_u32)
                    .map(|lane| {
                        let (first, own) = (lane / width * width, lane % width);
                        let source = match mode {
                            "bfly" => Some(lane ^ by).filter(|source| *source < first + width),
                            "up" => own.checked_sub(by).map(|source| first + source),
                            "down" => {
                                Some(own + by).filter(|source| *source < width).map(|source| first + source)
                            }
                            _ => Some(first + by % width),
                        };
                        source.unwrap_or(lane + 100)
                    })
                    .collect();
                assert_eq!(exchange(mode, by, width), wanted, "{mode} by {by} in segments of {width}");
            }
        }
    }
}

#[test]
fn votes_of_a_warp() {
    for (limit, wanted) in [(0, [0, 0, 1]), (5, [1, 0, 0]), (32, [1, 1, 1])] {
        for (mode, wanted) in ["any", "all", "uni"].into_iter().zip(wanted) {
            let body = format!(
                "mov.u32 %r12, -1; and.b32 %r4, %r2, 31; setp.lt.u32 %p1, %r4, {limit};
                 vote.sync.{mode}.pred %p2, %p1, %r12; selp.b32 %r5, 1, 0, %p2; st.global.u32 [%rd5], %r5;"
            );
            assert_eq!(right(&body, 1, 256).0.unwrap(), [wanted; 256], "{mode} of {limit} lanes");
        }
    }
}
