// One pass over a batch: each image is warped into its place, and then coloured, toned and painted over
// there, while it lies in cache. Plain loops over chunks of a row, which the compiler vectorises for each
// ISA. uint8 is computed in integers: the same results on each.
#include "cpu/parallel.h"
#include "ops/augment/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int kChunk = 256;  // pixels of a row at a time
constexpr int64_t kUnit = kPlaceUnits;
constexpr int kUnitBits = 12;
constexpr uint32_t kHalf = 1u << (2 * kUnitBits - 1);
static_assert(kUnit == int64_t{1} << kUnitBits);

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

template <class T>
inline T stored(double v);
template <>
inline float stored<float>(double v) {
    return static_cast<float>(v);
}
template <>
inline uint8_t stored<uint8_t>(double v) {
    return static_cast<uint8_t>(v <= 0 ? 0 : v >= 255 ? 255 : v + 0.5);
}

// v rounded to an integer, halves to even, for |v| < 2^51; it vectorises.
inline int64_t rounded(double v) {
    const double shifter = 6755399441055744.0;  // 1.5 * 2^52
    const double moved = v + shifter;
    int64_t bits, zero;
    __builtin_memcpy(&bits, &moved, sizeof bits);
    __builtin_memcpy(&zero, &shifter, sizeof zero);
    return bits - zero;
}

// The pixels on both sides of a place along an axis, and the share of the second in 1/4096.
struct Taps {
    int64_t first, second;
    uint32_t share;
};

inline int64_t reflected(int64_t i, int64_t n) {
    i %= 2 * n;
    if (i < 0) i += 2 * n;
    return i < n ? i : 2 * n - 1 - i;
}

// False where the fill value stands.
bool find_taps(int64_t place, int64_t n, Sampling sampling, Outside outside, Taps* taps) {
    const int64_t last = (n - 1) * kUnit;
    if (outside == Outside::constant && (place < 0 || place > last)) return false;
    if (outside == Outside::area && (place < -kUnit / 2 || place > last + kUnit / 2)) return false;
    if (outside == Outside::wrap) {
        if (n == 1)
            place = 0;
        else if (place < 0)
            place += last * (-place / last + 1);
        else if (place > last)
            place -= last * (place / last);
    } else if (outside != Outside::reflect) {
        place = place < 0 ? 0 : least(place, last);
    }
    if (sampling == Sampling::nearest) place = (place + kUnit / 2) & ~(kUnit - 1);
    const int64_t i = place >> kUnitBits;
    taps->share = static_cast<uint32_t>(place & (kUnit - 1));
    const bool reflect = outside == Outside::reflect;
    taps->first = reflect ? reflected(i, n) : i;
    taps->second = taps->share == 0 ? taps->first : reflect ? reflected(i + 1, n) : i + 1;
    return true;
}

inline uint8_t blend(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint32_t right, uint32_t below) {
    const uint32_t unit = static_cast<uint32_t>(kUnit);
    const uint32_t upper = a * (unit - right) + b * right, lower = c * (unit - right) + d * right;
    return static_cast<uint8_t>((upper * (unit - below) + lower * below + kHalf) >> (2 * kUnitBits));
}
inline float blend(float a, float b, float c, float d, uint32_t right, uint32_t below) {
    const float r = static_cast<float>(right) * (1.0f / kUnit),
                s = static_cast<float>(below) * (1.0f / kUnit);
    const float upper = a + (b - a) * r, lower = c + (d - c) * r;
    return upper + (lower - upper) * s;
}

// A row's chunk of places.
struct Places {
    int64_t x[kChunk], y[kChunk];
};

template <class T>
class Warp {
  public:
    Warp(const AugmentSteps& steps, const AugmentShape& s, const double* matrix, const T* x, T* y)
        : steps_(steps),
          s_(s),
          m_(matrix),
          x_(x),
          y_(y),
          in_(s.height * s.width),
          out_(s.out_height * s.out_width) {}

    void run() const {
        Places places;
        for (int64_t row = 0; row < s_.out_height; ++row)
            for (int64_t begin = 0; begin < s_.out_width; begin += kChunk)
                chunk(row, begin, static_cast<int>(least(kChunk, s_.out_width - begin)), &places);
    }

  private:
    void chunk(int64_t row, int64_t begin, int count, Places* p) const {
        const double unit = static_cast<double>(kUnit), r = static_cast<double>(row);
        const double step_x = m_[0] * unit, base_x = (m_[1] * r + m_[2]) * unit;
        const double step_y = m_[3] * unit, base_y = (m_[4] * r + m_[5]) * unit;
        const double from = static_cast<double>(begin);
        for (int i = 0; i < count; ++i) {
            const double at = from + static_cast<double>(i);
            p->x[i] = rounded(step_x * at + base_x);
            p->y[i] = rounded(step_y * at + base_y);
        }
        T* const y = y_ + row * s_.out_width + begin;
        // Pixels that are copied, each from the next one of a row, or from the one before it.
        const bool copied = (step_x == unit || step_x == -unit) && step_y == 0 && p->x[0] % kUnit == 0 &&
                            p->y[0] % kUnit == 0;
        const bool near = steps_.sampling == Sampling::nearest;
        // Places within [0, most] have all their taps in the image; along a row they follow one another.
        const int64_t margin = copied || near ? 0 : 1;
        const int64_t most_x = (s_.width - 1) * kUnit - margin, most_y = (s_.height - 1) * kUnit - margin;
        const auto inside = [&](int i) {
            return p->x[i] >= 0 && p->x[i] <= most_x && p->y[i] >= 0 && p->y[i] <= most_y;
        };
        int first = 0, end = count;
        while (first < end && !inside(first)) ++first;
        while (end > first && !inside(end - 1)) --end;
        if (first > 0) edges(*p, 0, first, y);
        if (end < count) edges(*p, end, count, y);
        if (first == end) return;
        if (copied)
            copy(*p, first, end, step_x < 0, y);
        else if (near)
            nearest(*p, first, end, y);
        else
            bilinear(*p, first, end, y);
    }

    void edges(const Places& p, int begin, int end, T* y) const {
        for (int i = begin; i < end; ++i) {
            Taps h, v;
            const bool found = find_taps(p.x[i], s_.width, steps_.sampling, steps_.outside, &h) &&
                               find_taps(p.y[i], s_.height, steps_.sampling, steps_.outside, &v);
            for (int64_t c = 0; c < s_.channels; ++c) {
                if (!found) {
                    y[c * out_ + i] = stored<T>(steps_.fill[c]);
                    continue;
                }
                const T* const upper = x_ + c * in_ + v.first * s_.width;
                const T* const lower = x_ + c * in_ + v.second * s_.width;
                y[c * out_ + i] =
                    blend(upper[h.first], upper[h.second], lower[h.first], lower[h.second], h.share, v.share);
            }
        }
    }

    void copy(const Places& p, int begin, int end, bool backwards, T* y) const {
        const int64_t from = (p.y[0] >> kUnitBits) * s_.width + (p.x[begin] >> kUnitBits);
        for (int64_t c = 0; c < s_.channels; ++c) {
            const T* const x = x_ + c * in_ + from;
            T* const to = y + c * out_ + begin;
            if (backwards)
                for (int i = 0; i < end - begin; ++i) to[i] = x[-i];
            else
                __builtin_memcpy(to, x, static_cast<size_t>(end - begin) * sizeof(T));
        }
    }

    void nearest(const Places& p, int begin, int end, T* y) const {
        for (int64_t c = 0; c < s_.channels; ++c) {
            const T* const x = x_ + c * in_;
            for (int i = begin; i < end; ++i)
                y[c * out_ + i] =
                    x[((p.y[i] + kUnit / 2) >> kUnitBits) * s_.width + ((p.x[i] + kUnit / 2) >> kUnitBits)];
        }
    }

    void bilinear(const Places& p, int begin, int end, T* y) const {
        for (int64_t c = 0; c < s_.channels; ++c) {
            const T* const x = x_ + c * in_;
            for (int i = begin; i < end; ++i) {
                const T* const a = x + (p.y[i] >> kUnitBits) * s_.width + (p.x[i] >> kUnitBits);
                const uint32_t right = static_cast<uint32_t>(p.x[i] & (kUnit - 1));
                const uint32_t below = static_cast<uint32_t>(p.y[i] & (kUnit - 1));
                y[c * out_ + i] = blend(a[0], a[1], a[s_.width], a[s_.width + 1], right, below);
            }
        }
    }

    const AugmentSteps& steps_;
    const AugmentShape& s_;
    const double* m_;
    const T* x_;
    T* y_;
    int64_t in_, out_;
};

double mean_of(const uint8_t* x, int64_t n) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += x[i];
    return static_cast<double>(sum) / static_cast<double>(n);
}
double mean_of(const float* x, int64_t n) {
    constexpr int kLanes = 8;
    double sums[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (int l = 0; l < kLanes; ++l) sums[l] += static_cast<double>(x[i + l]);
    for (; i < n; ++i) sums[0] += static_cast<double>(x[i]);
    double sum = 0;
    for (int l = 0; l < kLanes; ++l) sum += sums[l];
    return sum / static_cast<double>(n);
}

// All of an image's colour steps as one matrix (C, C + 1). False where nothing is changed.
template <class T>
bool fold_colors(const AugmentSteps& steps, int64_t image, int64_t channels, int64_t size, const T* x,
                 double* folded) {
    const int64_t width = channels + 1;
    const double* const before = steps.color + image * 2 * channels * width;
    const double* const after = before + channels * width;
    const double f = steps.contrast ? steps.contrast[image] : 1;
    double grey = 0;
    if (f != 1) {
        // Luma of ITU-R BT.601, as Pillow and torchvision have it; without three channels their mean.
        constexpr double kLuma[3] = {0.299, 0.587, 0.114};
        double means[kMaxChannels];
        for (int64_t c = 0; c < channels; ++c) means[c] = mean_of(x + c * size, size);
        for (int64_t c = 0; c < channels; ++c) {
            double mean = before[c * width + channels];
            for (int64_t k = 0; k < channels; ++k) mean += before[c * width + k] * means[k];
            grey += mean * (channels == 3 ? kLuma[c] : 1.0 / static_cast<double>(channels));
        }
    }
    bool changed = false;
    for (int64_t c = 0; c < channels; ++c) {
        const double* const row = after + c * width;
        for (int64_t k = 0; k <= channels; ++k) {
            double sum = k == channels ? row[channels] : 0;
            for (int64_t j = 0; j < channels; ++j)
                sum += row[j] * (f * before[j * width + k] + (k == channels ? (1 - f) * grey : 0));
            folded[c * width + k] = sum;
            changed = changed || sum != (k == c ? 1 : 0);
        }
    }
    return changed;
}

template <class Sum>
void color_bytes(const double* matrix, int64_t channels, int64_t size, uint8_t* y) {
    int64_t units[kMaxChannels * (kMaxChannels + 1)];
    for (int64_t i = 0; i < channels * (channels + 1); ++i)
        units[i] = static_cast<int64_t>(__builtin_floor(matrix[i] * kColorUnits + 0.5));
    uint8_t made[kMaxChannels][kChunk];
    for (int64_t begin = 0; begin < size; begin += kChunk) {
        const int count = static_cast<int>(least(kChunk, size - begin));
        for (int64_t c = 0; c < channels; ++c) {
            Sum sums[kChunk];
            const int64_t* const row = units + c * (channels + 1);
            for (int i = 0; i < count; ++i) sums[i] = static_cast<Sum>(row[channels] + kColorUnits / 2);
            for (int64_t k = 0; k < channels; ++k) {
                const Sum factor = static_cast<Sum>(row[k]);
                const uint8_t* const x = y + k * size + begin;
                if (factor != 0)
                    for (int i = 0; i < count; ++i) sums[i] += factor * static_cast<Sum>(x[i]);
            }
            for (int i = 0; i < count; ++i) {
                const Sum v = sums[i] >> 16;
                made[c][i] = static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
            }
        }
        for (int64_t c = 0; c < channels; ++c)
            __builtin_memcpy(y + c * size + begin, made[c], static_cast<size_t>(count));
    }
}

void color_image(const AugmentSteps&, const double* matrix, int64_t channels, int64_t size, uint8_t* y) {
    double reach = 0;
    for (int64_t c = 0; c < channels; ++c) {
        double row = __builtin_fabs(matrix[c * (channels + 1) + channels]) + 1;
        for (int64_t k = 0; k < channels; ++k) row += 255 * __builtin_fabs(matrix[c * (channels + 1) + k]);
        if (row > reach) reach = row;
    }
    if (reach < 32000)  // times 65536 it fits 32 bits
        color_bytes<int32_t>(matrix, channels, size, y);
    else
        color_bytes<int64_t>(matrix, channels, size, y);
}

void color_image(const AugmentSteps& steps, const double* matrix, int64_t channels, int64_t size, float* y) {
    const float low = static_cast<float>(steps.low), high = static_cast<float>(steps.high);
    float made[kMaxChannels][kChunk];
    for (int64_t begin = 0; begin < size; begin += kChunk) {
        const int count = static_cast<int>(least(kChunk, size - begin));
        for (int64_t c = 0; c < channels; ++c) {
            const double* const row = matrix + c * (channels + 1);
            for (int i = 0; i < count; ++i) made[c][i] = static_cast<float>(row[channels]);
            for (int64_t k = 0; k < channels; ++k) {
                const float factor = static_cast<float>(row[k]);
                const float* const x = y + k * size + begin;
                if (factor != 0)
                    for (int i = 0; i < count; ++i) made[c][i] += factor * x[i];
            }
            for (int i = 0; i < count; ++i) {
                const float v = made[c][i];
                made[c][i] = v < low ? low : v > high ? high : v;
            }
        }
        for (int64_t c = 0; c < channels; ++c)
            __builtin_memcpy(y + c * size + begin, made[c], static_cast<size_t>(count) * sizeof(float));
    }
}

// A channel's curve; what the kinds mean is Pillow's ImageOps' definition.
void make_curve(Tone kind, int32_t value, const uint8_t* x, int64_t size, uint8_t* curve) {
    uint32_t counts[256] = {};
    int lowest = 255, highest = 0, kinds = 0;
    if (kind == Tone::autocontrast || kind == Tone::equalize) {
        for (int64_t i = 0; i < size; ++i) ++counts[x[i]];
        for (int v = 0; v < 256; ++v)
            if (counts[v]) {
                lowest = v < lowest ? v : lowest;
                highest = v;
                ++kinds;
            }
    }
    const int bits = value < 0 ? 0 : value > 8 ? 8 : value;
    const int64_t step = kind == Tone::equalize ? (size - counts[highest]) / 255 : 0;
    int64_t passed = step / 2;
    for (int v = 0; v < 256; ++v) {
        int made = v;
        if (kind == Tone::posterize) made = v & ~((1 << (8 - bits)) - 1);
        if (kind == Tone::solarize) made = v < value ? v : 255 - v;
        if (kind == Tone::autocontrast && highest > lowest) {
            made = v <= lowest ? 0 : v >= highest ? 255 : (v - lowest) * 255 / (highest - lowest);
        }
        if (kind == Tone::equalize && kinds > 1 && step > 0) {
            made = static_cast<int>(least(255, passed / step));
            passed += counts[v];
        }
        curve[v] = static_cast<uint8_t>(made);
    }
}

void tone_image(const int32_t* tone, int64_t channels, int64_t size, uint8_t* y) {
    const Tone kind = static_cast<Tone>(tone[0]);
    if (kind == Tone::none) return;
    uint8_t curve[256];
    for (int64_t c = 0; c < channels; ++c) {
        make_curve(kind, tone[1], y + c * size, size, curve);
        for (int64_t i = 0; i < size; ++i) y[c * size + i] = curve[y[c * size + i]];
    }
}
void tone_image(const int32_t*, int64_t, int64_t, float*) {}

template <class T>
void paint_box(const AugmentShape& s, const int64_t* box, const double* paint, T* y) {
    const int64_t top = most(box[0], 0), left = most(box[1], 0);
    const int64_t bottom = least(box[0] + box[2], s.out_height), right = least(box[1] + box[3], s.out_width);
    for (int64_t c = 0; c < s.channels; ++c) {
        const T value = stored<T>(paint[c]);
        for (int64_t row = top; row < bottom; ++row) {
            T* const to = y + (c * s.out_height + row) * s.out_width;
            for (int64_t i = left; i < right; ++i) to[i] = value;
        }
    }
}

template <class T>
void run(const AugmentSteps& steps, const AugmentShape& s, const T* x, T* y) {
    const int64_t in = s.channels * s.height * s.width, size = s.out_height * s.out_width;
    const int64_t out = s.channels * size;
    const int64_t grain = most(1, 16384 / most(out, 1));
    parallel_for(s.images, grain, [&](int64_t begin, int64_t end, int) {
        double folded[kMaxChannels * (kMaxChannels + 1)];
        for (int64_t n = begin; n < end; ++n) {
            const T* const from = x + n * in;
            T* const to = y + n * out;
            if (steps.matrices)
                Warp<T>(steps, s, steps.matrices + 6 * n, from, to).run();
            else
                __builtin_memcpy(to, from, static_cast<size_t>(out) * sizeof(T));
            if (steps.color && fold_colors(steps, n, s.channels, size, to, folded))
                color_image(steps, folded, s.channels, size, to);
            if (steps.tones) tone_image(steps.tones + 2 * n, s.channels, size, to);
            for (int64_t b = 0; b < steps.boxes_per_image; ++b)
                paint_box(s, steps.boxes + 4 * (n * steps.boxes_per_image + b), steps.paint, to);
        }
    });
}

}  // namespace

void augment_u8(const AugmentSteps& steps, const AugmentShape& s, const uint8_t* x, uint8_t* y) {
    run(steps, s, x, y);
}
void augment_f32(const AugmentSteps& steps, const AugmentShape& s, const float* x, float* y) {
    run(steps, s, x, y);
}

}  // namespace fastconv::FC_ISA_NS
