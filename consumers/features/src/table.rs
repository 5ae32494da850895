//! The 45 entries of the list, one after another in the order of a row. Knows words and numbers only.

use crate::list::{COUNT, Feature};

/// A number without a unit.
const RATIO: &str = "1";
/// Adjusted yuan.
const PRICE: &str = "yuan";
/// 0 to 100.
const PERCENT: &str = "%";
/// −1, 0 or 1.
const FLAG: &str = "flag";
/// Days the exchange traded.
const SESSIONS: &str = "sessions";

const fn feature(name: &'static str, formula: &'static str) -> Feature {
    Feature {
        name,
        formula,
        minute_formula: None,
        parameters: &[],
        unit: RATIO,
        min: None,
        max: None,
        warm_up: 0,
        reference: "",
    }
}

impl Feature {
    const fn of_minutes(self, formula: &'static str) -> Feature {
        Feature { minute_formula: Some(formula), ..self }
    }

    const fn with(self, parameters: &'static [(&'static str, f64)]) -> Feature {
        Feature { parameters, ..self }
    }

    const fn unit(self, unit: &'static str) -> Feature {
        Feature { unit, ..self }
    }

    const fn min(self, min: f64) -> Feature {
        Feature { min: Some(min), ..self }
    }

    const fn max(self, max: f64) -> Feature {
        Feature { max: Some(max), ..self }
    }

    const fn warm_up(self, warm_up: u32) -> Feature {
        Feature { warm_up, ..self }
    }

    const fn like(self, reference: &'static str) -> Feature {
        Feature { reference, ..self }
    }
}

/// All features, in the order of a row.
pub const LIST: [Feature; COUNT] = [
    feature("ret_1", "C / C[-1] - 1")
        .with(&[("n", 1.0)])
        .unit(RATIO)
        .min(-1.0)
        .warm_up(1)
        .like("TA-Lib ROCP(1)"),
    feature("ret_5", "C / C[-5] - 1")
        .with(&[("n", 5.0)])
        .unit(RATIO)
        .min(-1.0)
        .warm_up(5)
        .like("TA-Lib ROCP(5)"),
    feature("ret_10", "C / C[-10] - 1")
        .with(&[("n", 10.0)])
        .unit(RATIO)
        .min(-1.0)
        .warm_up(10)
        .like("TA-Lib ROCP(10)"),
    feature("ret_20", "C / C[-20] - 1")
        .with(&[("n", 20.0)])
        .unit(RATIO)
        .min(-1.0)
        .warm_up(20)
        .like("TA-Lib ROCP(20)"),
    feature("ret_60", "C / C[-60] - 1")
        .with(&[("n", 60.0)])
        .unit(RATIO)
        .min(-1.0)
        .warm_up(60)
        .like("TA-Lib ROCP(60)"),
    feature("gap_open", "O / C[-1] - 1")
        .unit(RATIO)
        .min(-1.0)
        .warm_up(1)
        .like("pandas: open / close.shift() - 1"),
    feature("ma_5", "mean(C, 5)").with(&[("n", 5.0)]).unit(PRICE).min(0.0).warm_up(4).like("TA-Lib SMA(5)"),
    feature("ma_10", "mean(C, 10)")
        .with(&[("n", 10.0)])
        .unit(PRICE)
        .min(0.0)
        .warm_up(9)
        .like("TA-Lib SMA(10)"),
    feature("ma_20", "mean(C, 20)")
        .with(&[("n", 20.0)])
        .unit(PRICE)
        .min(0.0)
        .warm_up(19)
        .like("TA-Lib SMA(20)"),
    feature("ma_60", "mean(C, 60)")
        .with(&[("n", 60.0)])
        .unit(PRICE)
        .min(0.0)
        .warm_up(59)
        .like("TA-Lib SMA(60)"),
    feature("ema_12", "e = e' + (C - e') * 2 / (12 + 1), e0 = C0")
        .with(&[("n", 12.0)])
        .unit(PRICE)
        .min(0.0)
        .warm_up(11)
        .like("pandas ewm(span=12, adjust=False); 通达信 EMA(C, 12)"),
    feature("ema_26", "e = e' + (C - e') * 2 / (26 + 1), e0 = C0")
        .with(&[("n", 26.0)])
        .unit(PRICE)
        .min(0.0)
        .warm_up(25)
        .like("pandas ewm(span=26, adjust=False); 通达信 EMA(C, 26)"),
    feature("bias_20", "C / ma_20 - 1")
        .with(&[("n", 20.0)])
        .unit(RATIO)
        .min(-1.0)
        .warm_up(19)
        .like("TA-Lib SMA(20)"),
    feature(
        "adx_14",
        "Wilder's ADX: sums of +DM and -DM over bars 1 to 13, then s = s' - s' / 14 + x; DX = 100 * \
         |+DM - -DM| / (+DM + -DM); mean of 14 DX, then a = (13 a' + DX) / 14; movements that tie \
         cancel, a DX without movement is left out",
    )
    .with(&[("n", 14.0)])
    .unit(PERCENT)
    .min(0.0)
    .max(100.0)
    .warm_up(27)
    .like("TA-Lib ADX(14), where no prices tie"),
    feature("macd_dif", "ema_12 - ema_26")
        .with(&[("fast", 12.0), ("slow", 26.0)])
        .unit(PRICE)
        .warm_up(25)
        .like("pandas ewm; 通达信 MACD DIF"),
    feature("macd_dea", "EMA(dif, 9), seeded with the dif of the first bar, 0")
        .with(&[("fast", 12.0), ("slow", 26.0), ("signal", 9.0)])
        .unit(PRICE)
        .warm_up(33)
        .like("pandas ewm; 通达信 MACD DEA"),
    feature("macd_hist", "2 * (macd_dif - macd_dea)")
        .with(&[("fast", 12.0), ("slow", 26.0), ("signal", 9.0)])
        .unit(PRICE)
        .warm_up(33)
        .like("通达信 MACD; twice TA-Lib's"),
    feature(
        "rsi_6",
        "100 * SMA(max(d, 0), 6, 1) / SMA(|d|, 6, 1), d = C - C[-1], SMA: s = s' + (x - s') / 6, \
         seeded with the first d; 50 if nothing changed",
    )
    .with(&[("n", 6.0)])
    .unit(PERCENT)
    .min(0.0)
    .max(100.0)
    .warm_up(6)
    .like("pandas ewm(alpha=1/6, adjust=False); 通达信 RSI"),
    feature(
        "rsi_12",
        "100 * SMA(max(d, 0), 12, 1) / SMA(|d|, 12, 1), d = C - C[-1], SMA: s = s' + (x - s') / 12, \
         seeded with the first d; 50 if nothing changed",
    )
    .with(&[("n", 12.0)])
    .unit(PERCENT)
    .min(0.0)
    .max(100.0)
    .warm_up(12)
    .like("pandas ewm(alpha=1/12, adjust=False); 通达信 RSI"),
    feature(
        "rsi_24",
        "100 * SMA(max(d, 0), 24, 1) / SMA(|d|, 24, 1), d = C - C[-1], SMA: s = s' + (x - s') / 24, \
         seeded with the first d; 50 if nothing changed",
    )
    .with(&[("n", 24.0)])
    .unit(PERCENT)
    .min(0.0)
    .max(100.0)
    .warm_up(24)
    .like("pandas ewm(alpha=1/24, adjust=False); 通达信 RSI"),
    feature("boll_upper", "ma_20 + 2 * sd(C, 20), sd of the population")
        .with(&[("n", 20.0), ("k", 2.0)])
        .unit(PRICE)
        .min(0.0)
        .warm_up(19)
        .like("TA-Lib BBANDS(20, 2, 2)"),
    feature("boll_lower", "ma_20 - 2 * sd(C, 20), sd of the population")
        .with(&[("n", 20.0), ("k", 2.0)])
        .unit(PRICE)
        .warm_up(19)
        .like("TA-Lib BBANDS(20, 2, 2)"),
    feature("boll_pctb", "(C - boll_lower) / (4 * sd(C, 20)); 0.5 if sd <= 1e-9 * C")
        .with(&[("n", 20.0), ("k", 2.0)])
        .unit(RATIO)
        .warm_up(19)
        .like("TA-Lib BBANDS(20, 2, 2)"),
    feature("boll_width", "4 * sd(C, 20) / ma_20")
        .with(&[("n", 20.0), ("k", 2.0)])
        .unit(RATIO)
        .min(0.0)
        .warm_up(19)
        .like("TA-Lib BBANDS(20, 2, 2)"),
    feature(
        "kdj_k",
        "K = (2 K' + RSV) / 3, RSV = 100 * (C - LLV(L, 9)) / (HHV(H, 9) - LLV(L, 9)), 50 if flat; K = \
         50 before the first RSV",
    )
    .with(&[("n", 9.0), ("m1", 3.0), ("m2", 3.0)])
    .unit(PERCENT)
    .min(0.0)
    .max(100.0)
    .warm_up(8)
    .like("pandas; 通达信 KDJ; TA-Lib 0.8 KDJ from bar 120 on"),
    feature("kdj_d", "D = (2 D' + kdj_k) / 3; D = 50 before the first RSV")
        .with(&[("n", 9.0), ("m1", 3.0), ("m2", 3.0)])
        .unit(PERCENT)
        .min(0.0)
        .max(100.0)
        .warm_up(8)
        .like("pandas; 通达信 KDJ"),
    feature("kdj_j", "3 * kdj_k - 2 * kdj_d")
        .with(&[("n", 9.0), ("m1", 3.0), ("m2", 3.0)])
        .unit(PERCENT)
        .warm_up(8)
        .like("pandas; 通达信 KDJ"),
    feature(
        "atr_14",
        "Wilder's average of TR = max(H, C[-1]) - min(L, C[-1]): mean of bars 1 to 14, then a = (13 \
         a' + TR) / 14",
    )
    .with(&[("n", 14.0)])
    .unit(PRICE)
    .min(0.0)
    .warm_up(14)
    .like("TA-Lib ATR(14)"),
    feature("volatility_20", "sd(ret_1, 20) of the population, not annualised")
        .with(&[("n", 20.0)])
        .unit(RATIO)
        .min(0.0)
        .warm_up(20)
        .like("TA-Lib STDDEV(ROCP(1), 20)"),
    feature("parkinson_20", "sqrt(mean(ln(H / L)^2, 20) / (4 ln 2))")
        .with(&[("n", 20.0)])
        .unit(RATIO)
        .min(0.0)
        .warm_up(19)
        .like("TA-Lib SMA(20) and sqrt"),
    feature("amplitude", "(H - L) / C[-1]")
        .unit(RATIO)
        .min(0.0)
        .warm_up(1)
        .like("pandas: (high - low) / close.shift()"),
    feature("vol_ratio_5", "V / mean(V[-1], 5): the 5 bars before")
        .with(&[("n", 5.0)])
        .unit(RATIO)
        .min(0.0)
        .warm_up(5)
        .like("TA-Lib RVOL(5); 量比 on day bars"),
    feature("vol_ratio_20", "V / mean(V[-1], 20): the 20 bars before")
        .with(&[("n", 20.0)])
        .unit(RATIO)
        .min(0.0)
        .warm_up(20)
        .like("TA-Lib RVOL(20); 量比 on day bars"),
    feature("obv_ratio_20", "sum(sign(C - C[-1]) * V, 20) / sum(V, 20)")
        .with(&[("n", 20.0)])
        .unit(RATIO)
        .min(-1.0)
        .max(1.0)
        .warm_up(20)
        .like("TA-Lib (OBV - OBV[-20]) / SUM(V, 20)"),
    feature(
        "mfi_14",
        "100 * pos / (pos + neg) over 14 changes of TP = (H + L + C) / 3, money TP * V; 50 if nothing \
         changed",
    )
    .with(&[("n", 14.0)])
    .unit(PERCENT)
    .min(0.0)
    .max(100.0)
    .warm_up(14)
    .like("TA-Lib MFI(14)"),
    feature(
        "vwap_gap",
        "c / (amount / vol) - 1; 0 if amount / vol is outside [0.98 l, 1.02 h]; null without amount",
    )
    .of_minutes(
        "c / (sum(amount) / sum(vol)) - 1 since 09:30 of the day; 0 if outside [0.98 l, \
                     1.02 h] of the day so far; null without amount",
    )
    .with(&[("low", 0.98), ("high", 1.02)])
    .unit(RATIO)
    .min(-1.0)
    .like("pandas: close / (amount / vol) - 1"),
    feature(
        "pv_corr_20",
        "Pearson's correlation of ret_1 and ln(V / V[-1]) over 20 bars; 0 if either sum of squares <= \
         1e-24",
    )
    .with(&[("n", 20.0)])
    .unit(RATIO)
    .min(-1.0)
    .max(1.0)
    .warm_up(20)
    .like("TA-Lib CORREL(20)"),
    feature("upper_shadow", "(h - max(o, c)) / (h - l); 0 if flat")
        .unit(RATIO)
        .min(0.0)
        .max(1.0)
        .like("pandas"),
    feature("lower_shadow", "(min(o, c) - l) / (h - l); 0 if flat")
        .unit(RATIO)
        .min(0.0)
        .max(1.0)
        .like("pandas"),
    feature("close_pos", "(c - l) / (h - l); 0.5 if flat").unit(RATIO).min(0.0).max(1.0).like("pandas"),
    feature("pos_20", "(C - LLV(L, 20)) / (HHV(H, 20) - LLV(L, 20)); 0.5 if flat")
        .with(&[("n", 20.0)])
        .unit(RATIO)
        .min(0.0)
        .max(1.0)
        .warm_up(19)
        .like("TA-Lib 1 + WILLR(20) / 100"),
    feature("pos_60", "(C - LLV(L, 60)) / (HHV(H, 60) - LLV(L, 60)); 0.5 if flat")
        .with(&[("n", 60.0)])
        .unit(RATIO)
        .min(0.0)
        .max(1.0)
        .warm_up(59)
        .like("TA-Lib 1 + WILLR(60) / 100"),
    feature(
        "limit_state",
        "1 if c >= buy_limit - half a tick, -1 if c <= sell_limit + half a tick, else 0; 0 without a \
         limit",
    )
    .with(&[("half_tick", 0.005), ("half_tick_fund", 0.0005)])
    .unit(FLAG)
    .min(-1.0)
    .max(1.0)
    .like("price limit rules"),
    feature("is_st", "1 under special treatment, else 0; 0 if unknown")
        .unit(FLAG)
        .min(0.0)
        .max(1.0)
        .like("special treatment rules"),
    feature(
        "susp_gap",
        "sessions of the calendar between the previous traded bar's day and this one's, at most 250; \
         0 at the first bar",
    )
    .with(&[("max", 250.0)])
    .unit(SESSIONS)
    .min(0.0)
    .max(250.0)
    .like("calendar"),
];
