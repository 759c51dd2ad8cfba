// The band of strips.h: input rows in a frame of zeros, lanes as one block of output channels wants them.
#pragma once

#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/prefetch.h"
#include "ops/conv2d/strips.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Lane l is element place[l] behind a pointer. Nothing else is read but what lies between the first and the
// last place.
class LanePick {
  public:
    LanePick() = default;
    LanePick(const StripConv& g, int64_t block) : depth_(g.depth) {
        const int64_t channels = g.channels_out(), first = g.flat() ? 0 : block * VL;
        count_ = g.flat() ? g.step : least(VL, channels - first);
        low_ = first / g.width * g.depth;
        for (int l = 0; l < VL; ++l) {
            const int64_t at = l < count_ ? l : 0, o = g.flat() ? at % channels : first + at;
            const int64_t pixel = g.flat() ? at / channels * g.phases * g.channels_in() : 0;
            place_[l] = static_cast<int32_t>(pixel + o / g.width * g.depth - low_);
        }
        lanes(count_);
    }
    int64_t count() const { return count_; }

    // Only the first `lanes` lanes from now on.
    void lanes(int64_t lanes) {
        taken_ = lanes;
        lanes_ = tail(lanes);
        span_ = depth_;
        together_ = depth_ == 1;
        for (int64_t l = 0; l < lanes; ++l) {
            if (place_[l] != l) together_ = false;
            span_ = most(span_, place_[l] + depth_);
        }
        near_ = tail(span_), far_ = tail(span_ - VL);
#if defined(FC_ISA_AVX512)
        parts_ = 0;
        for (int64_t l = 0; l < lanes && parts_ <= kParts; ++l) {
            if (l == 0 || place_[l] != place_[l - 1]) {
                if (++parts_ > kParts) break;
                part_[parts_ - 1] = {place_[l], 0};
            }
            part_[parts_ - 1].lanes = static_cast<__mmask16>(part_[parts_ - 1].lanes | 1 << l);
        }
#endif
    }

    void fetch(const float* from) const {
        __builtin_prefetch(from + low_, 0, 3);
        if (span_ > VL) __builtin_prefetch(from + low_ + span_ - 1, 0, 3);
    }
    // The vector of input d of each group goes to to[d * plane]; lanes that do not count are zero.
    void copy(const float* from, float* to, int64_t plane) const {
        from += low_;
        if (together_) return store(to, load(from, lanes_));
#if defined(FC_ISA_AVX512)
        __m512i place = _mm512_loadu_si512(place_);
        const __m512i one = _mm512_set1_epi32(1);
        if (span_ <= VL) {
            const vf near = load(from, near_);
            for (int64_t d = 0; d < depth_; ++d, to += plane, place = _mm512_add_epi32(place, one))
                store(to, _mm512_maskz_permutexvar_ps(lanes_.mask, place, near));
        } else if (span_ <= 2 * VL) {
            const vf near = load(from), far = load(from + VL, far_);
            for (int64_t d = 0; d < depth_; ++d, to += plane, place = _mm512_add_epi32(place, one))
                store(to, _mm512_maskz_permutex2var_ps(lanes_.mask, near, place, far));
        } else if (span_ <= 4 * VL) {
            pick_pairs<2>(from, to, plane);
        } else if (parts_ <= kParts) {
            for (int64_t d = 0; d < depth_; ++d, to += plane) {
                vf picked =
                    _mm512_maskz_broadcastss_ps(part_[0].lanes, _mm_load_ss(from + part_[0].place + d));
                for (int64_t i = 1; i < parts_; ++i)
                    picked = _mm512_mask_broadcastss_ps(picked, part_[i].lanes,
                                                        _mm_load_ss(from + part_[i].place + d));
                store(to, picked);
            }
        } else if (span_ <= 8 * VL) {
            pick_pairs<4>(from, to, plane);
        } else {
            for (int64_t d = 0; d < depth_; ++d, to += plane)
                store(to, _mm512_mask_i32gather_ps(zero(), lanes_.mask, place, from + d, 4));
        }
#else
        for (int64_t d = 0; d < depth_; ++d, to += plane) {
            float values[VL] = {};
            for (int64_t l = 0; l < taken_; ++l) values[l] = from[d + place_[l]];
            store(to, load(values));
        }
#endif
    }

    // copy() of `count` pixels `step` floats apart, whose vectors are `column` floats apart; those ahead are
    // fetched.
    void copy_row(const float* from, int64_t step, int64_t count, float* to, int64_t column,
                  int64_t plane) const {
        constexpr int64_t kAhead = 8;
#if defined(FC_ISA_AVX512)
        // One input of all pixels after the other: its places stay in a register.
        if (!together_ && span_ <= 2 * VL) {
            const float* const low = from + low_;
            const bool two = span_ > VL;
            __m512i place = _mm512_loadu_si512(place_);
            for (int64_t d = 0; d < depth_; ++d, to += plane) {
                for (int64_t i = 0; i < count; ++i) {
                    const float* const at = low + i * step;
                    if (d == 0) fetch(from + (i + kAhead) * step);
                    if (two)
                        store(to + i * column, _mm512_maskz_permutex2var_ps(lanes_.mask, load(at), place,
                                                                            load(at + VL, far_)));
                    else
                        store(to + i * column,
                              _mm512_maskz_permutexvar_ps(lanes_.mask, place, load(at, near_)));
                }
                place = _mm512_add_epi32(place, _mm512_set1_epi32(1));
            }
            return;
        }
#endif
        for (int64_t i = 0; i < count; ++i, from += step, to += column) {
            fetch(from + kAhead * step);
            copy(from, to, plane);
        }
    }

  private:
#if defined(FC_ISA_AVX512)
    // From N pairs of vectors: a permutation of each and blends. A gather takes 140 cycles on some
    // processors.
    template <int N>
    void pick_pairs(const float* from, float* to, int64_t plane) const {
        vf v[2 * N];
        unrolled<2 * N>([&](auto i) FC_INLINE { v[i] = load(from + i * VL, tail(span_ - i * VL)); });
        const __m512i one = _mm512_set1_epi32(1), pair = _mm512_set1_epi32(2 * VL);
        __m512i place = _mm512_loadu_si512(place_);
        for (int64_t d = 0; d < depth_; ++d, to += plane, place = _mm512_add_epi32(place, one)) {
            vf picked = _mm512_maskz_permutex2var_ps(lanes_.mask, v[0], place, v[1]);
            __m512i first = pair;
            unrolled<N - 1>([&](auto i) FC_INLINE {
                const vm beyond = _mm512_mask_cmpge_epi32_mask(lanes_.mask, place, first);
                picked = _mm512_mask_blend_ps(beyond, picked,
                                              _mm512_permutex2var_ps(v[2 * i + 2], place, v[2 * i + 3]));
                first = _mm512_add_epi32(first, pair);
            });
            store(to, picked);
        }
    }
#endif

#if defined(FC_ISA_AVX512)
    // Neighbouring lanes that read the same element: a broadcast for each run of them.
    struct Part {
        int32_t place;
        __mmask16 lanes;
    };
    static constexpr int64_t kParts = 6;
    Part part_[kParts];
    int64_t parts_;
#endif
    int32_t place_[VL];
    int64_t depth_, count_, low_, span_, taken_;
    bool together_;
    Tail lanes_, near_, far_;
};

// The input rows of one band after the other, for one block of channels. Between bands the rows that both
// need are moved.
class StripFiller {
  public:
    StripFiller(const StripConv& g, int64_t block, float* band) : g_(g), pick_(g, block), band_(band) {
        const int64_t columns = g.step / g.column;
        for (int64_t phase = 0; phase < g.phases; ++phase) {
            // Columns whose source lies inside.
            const int64_t start = phase + g.low_w;
            Phase& p = phase_[phase];
            p.first = start < 0 ? least(g.pitch, ceil_div(-start, g.phases)) : 0;
            p.last = g.w <= start ? p.first : most(p.first, least(g.pitch, ceil_div(g.w - start, g.phases)));
            const int64_t rest = (p.last - p.first) % columns;
            if (!g.flat()) continue;
            ends_[phase] = pick_;
            if (rest) ends_[phase].lanes(rest * g.column);
        }
    }
    const LanePick& pick() const { return pick_; }

    // Input rows of output rows [i0, i0 + rows). `follows`: the last call was for the full band before.
    void fill(int64_t n, int64_t i0, int64_t rows, bool follows) {
        const int64_t plane = g_.band_rows * g_.band_row();
        const int64_t needed = g_.band_rows - (g_.band - rows) * g_.row_step;
        const int64_t kept = follows ? most(0, g_.band_rows - g_.band * g_.row_step) : 0;
        for (int64_t d = 0; d < g_.depth && kept; ++d)
            copy_floats(band_ + d * plane, band_ + d * plane + g_.band * g_.row_step * g_.band_row(),
                        kept * g_.band_row());
        for (int64_t e = kept; e < needed; ++e)
            if (g_.used_rows >> e % g_.row_step % 64 & 1)
                row(n, i0 * g_.row_step + g_.low_h + e, band_ + e * g_.band_row(), plane);
    }

  private:
    struct Phase {
        int64_t first, last;
    };

    void row(int64_t n, int64_t h, float* to, int64_t plane) const {
        if (h < 0 || h >= g_.h) {
            for (int64_t d = 0; d < g_.depth; ++d) zero_floats(to + d * plane, g_.band_row());
            return;
        }
        const int64_t c = g_.channels_in(), columns = g_.step / g_.column, step = columns * g_.phases * c;
        const float* from = g_.in + (n * g_.h + h) * g_.w * c;
        for (int64_t phase = 0; phase < g_.phases; ++phase, to += g_.phase_row()) {
            if (!(g_.used_phases >> phase & 1)) continue;
            const Phase& p = phase_[phase];
            const float* pixel = from + (phase + g_.low_w + p.first * g_.phases) * c;
            const int64_t whole = (p.last - p.first) / columns, t = p.first + whole * columns;
            pick_.copy_row(pixel, step, whole, to + p.first * g_.column, columns * g_.column, plane);
            if (t < p.last) ends_[phase].copy(pixel + whole * step, to + t * g_.column, plane);
            for (int64_t d = 0; d < g_.depth; ++d) {
                zero_floats(to + d * plane, p.first * g_.column);
                zero_floats(to + d * plane + p.last * g_.column, g_.phase_row() - p.last * g_.column);
            }
        }
    }

    const StripConv& g_;
    LanePick pick_, ends_[4];
    Phase phase_[4];
    float* band_;
};

}  // namespace
}  // namespace fastconv::FC_ISA_NS
