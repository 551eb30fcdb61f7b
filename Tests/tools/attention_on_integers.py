"""What attention's two products on 8-bit integers cost the emoji DiT: teacher-forced SQNR of the predicted noise, as shared/models/emoji32/simulate.py measures it.
numpy only. Integer products are exact here: |u8 - zero| <= 255, |s8| <= 127, 64 terms: below 2^21, so float32 holds every sum.
Usage: OMP_NUM_THREADS=1 nice -n 15 python3 attention_on_integers.py [model.safetensors] [folder of emoji32]"""
import sys, json, time, math, numpy as np
from pathlib import Path
ROOT = Path(__file__).resolve().parents[2]
f4 = np.float32
MODEL = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "examples/models/emoji/emoji.safetensors")
REF = sys.argv[2] if len(sys.argv) > 2 else str(ROOT.parent / "shared/models/emoji32")
HEADS, DEPTH = 4, 6

def read(path):
    raw = open(path, "rb").read(); n = int.from_bytes(raw[:8], "little"); out = {}
    for k, h in json.loads(raw[8:8 + n]).items():
        if k == "__metadata__": continue
        a, b = h["data_offsets"]; t = {"F16": "<f2", "F32": "<f4", "I64": "<i8", "I32": "<i4"}[h["dtype"]]
        x = np.frombuffer(raw[8 + n + a:8 + n + b], t).reshape(h["shape"]); out[k] = x.astype(f4) if t[1] == "f" else x
    return out

# ---- quantizers
def sym(x, axis):                       # s8, +-127, scale over the axes given
    s = np.maximum(np.abs(x).max(axis, keepdims=True) / f4(127), f4(1e-12)); return np.rint(x / s), s
def asym(x, bits=8):                    # u8 (u4) less its zero point, along the last axis
    lo, hi = np.minimum(x.min(-1, keepdims=True), 0), np.maximum(x.max(-1, keepdims=True), 0); m = f4(2 ** bits - 1)
    s = np.maximum((hi - lo) / m, f4(1e-12)); z = np.rint(-lo / s); q = np.rint(x / s); q += z; np.clip(q, 0, m, out=q); q -= z; return q, s
def weight(w, scheme):
    if scheme == "W8A8": q, s = sym(w, -1); return q * s
    if scheme == "W4A8": q, s = asym(w.reshape(len(w), -1, 128), 4); return (q * s).reshape(w.shape)
    return w

# ---- attention: q k v [B,H,N,d]
def attention(q, k, v, qk, p, vm):
    """qk: None | u8s8 (q asymmetric, k symmetric, per token and head) | s8s8 | smooth (u8s8, k less its mean over tokens).
    p:  None | fixed (softmax, scale 1/255) | row (exp(s - max), scale 1/255: the same as softmax with the row's maximum) | row7 (the same, 7 bits: two u8*s8 products then fit 16) | rowq (row, divided by the sum of the quantized).
    vm: chan | head | image (all heads) | token (its scale goes into P before P is quantized) | blk16 (16 tokens a scale, per head) | blkchan (16 tokens, per channel) | mean (chan, v less its mean over tokens)."""
    if qk is None: s = q @ k.swapaxes(-1, -2)
    else:
        if qk == "smooth": k = k - k.mean(-2, keepdims=True)
        a, sa = sym(q, -1) if qk == "s8s8" else asym(q); b, sb = sym(k, -1)
        s = a @ b.swapaxes(-1, -2); s *= sa; s *= sb.swapaxes(-1, -2)
    s *= f4(q.shape[-1] ** -.5); s -= s.max(-1, keepdims=True); e = np.exp(s); z = e.sum(-1, keepdims=True)
    if p is None: return (e @ v) / z
    m = 0
    if vm == "mean": m = v.mean(-2, keepdims=True); v = v - m
    B, H, N, d = v.shape
    if vm == "token": b, sb = sym(v, -1); e = e * sb.swapaxes(-1, -2); top = e.max(-1, keepdims=True) / f4(255); return (np.rint(e / top) @ b) * top / z
    P = np.rint(e / z * f4(255)) if p == "fixed" else np.rint(e * f4(127 if p == "row7" else 255)); n = {"fixed": f4(255), "row": z * f4(255), "row7": z * f4(127)}.get(p)
    if n is None: n = P.sum(-1, keepdims=True)
    if vm in ("blk16", "blkchan"):
        b, sb = sym(v.reshape(B, H, N // 16, 16, d), -2 if vm == "blkchan" else (-1, -2)); P = np.ascontiguousarray(P.reshape(B, H, N, N // 16, 16).swapaxes(2, 3))
        return ((P @ b) * sb).sum(2) / n
    b, sb = sym(v, {"head": (-1, -2), "image": (1, 2, 3)}.get(vm, -2)); return (P @ b) * sb / n + m

# ---- the model
silu = lambda x: x / (1 + np.exp(-x))
def ln(x): y = x - x.mean(-1, keepdims=True); y /= np.sqrt((y * y).mean(-1, keepdims=True) + f4(1e-6)); return y
def gelu(x): t = x * x; t *= f4(.044715); t += 1; t *= x; t *= f4(math.sqrt(2 / math.pi)); np.tanh(t, out=t); t += 1; t *= x; t *= f4(.5); return t
class DiT:
    def __init__(self, W, scheme):
        self.quant = scheme != "float"; names = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1"); self.W = dict(W)
        for i in range(DEPTH):
            for n in names: k = f"blocks.{i}.{n}.weight"; self.W[k] = weight(W[k], scheme)
    def lin(self, x, n, act=False):
        w, b = self.W[n + ".weight"], self.W[n + ".bias"]; sh = x.shape; x = x.reshape(-1, sh[-1])
        if act and self.quant: q, s = asym(x); q *= s; x = q
        y = x @ w.reshape(len(w), -1).T; y += b; return y.reshape(*sh[:-1], -1)
    def __call__(self, x, t, y, att=(None, None, None)):
        B, C, S, _ = x.shape; W = self.W; p = W["x_embedder.proj.weight"].shape[-1]; n = S // p
        a = t.astype(f4)[:, None] * np.exp(-math.log(10000) * np.arange(128, dtype=f4) / f4(128)).astype(f4)
        c = silu(self.lin(silu(self.lin(np.concatenate([np.cos(a), np.sin(a)], -1), "t_embedder.mlp.0")), "t_embedder.mlp.2") + W["y_embedder.embedding_table.weight"][y])
        h = self.lin(x.reshape(B, C, n, p, n, p).transpose(0, 2, 4, 1, 3, 5).reshape(B, n * n, -1), "x_embedder.proj") + W["pos_embed"]
        D = h.shape[-1]; split = lambda z, k: z.reshape(B, k, 1, D).swapaxes(0, 1)
        for i in range(DEPTH):
            b = f"blocks.{i}."; s1, k1, g1, s2, k2, g2 = split(self.lin(c, b + "adaLN_modulation.1"), 6)
            q, k, v = np.ascontiguousarray(self.lin(ln(h) * (1 + k1) + s1, b + "attn.qkv", True).reshape(B, n * n, 3, HEADS, -1).transpose(2, 0, 3, 1, 4))
            h = h + g1 * self.lin(attention(q, k, v, *att).swapaxes(1, 2).reshape(B, n * n, D), b + "attn.proj", True)
            h = h + g2 * self.lin(gelu(self.lin(ln(h) * (1 + k2) + s2, b + "mlp.fc1", True)), b + "mlp.fc2", True)
        s, k = split(self.lin(c, "final_layer.adaLN_modulation.1"), 2); h = self.lin(ln(h) * (1 + k) + s, "final_layer.linear")
        return h.reshape(B, n, n, p, p, -1).transpose(0, 5, 1, 3, 2, 4).reshape(B, -1, S, S)

def main():
    t0 = time.time(); W = read(MODEL); G = read(REF + "/golden.safetensors"); net = {s: DiT(W, s) for s in ("float", "W8A8", "W4A8")}
    o = net["float"](G["forward.x"], G["forward.t"], G["forward.y"]); r = G["forward.out"]; rel = np.sqrt(np.square(o - r).sum() / np.square(r).sum())
    print(f"golden forward: relative error {rel:.2e} (rms), largest {np.abs(o - r).max() / np.abs(r).max():.2e}", flush=True); assert rel < 2e-5
    noise = np.load(REF + "/noise.npy"); y = np.concatenate([np.arange(0, 128, 8), np.full(16, 128)]); ts = [980 - 20 * k for k in range(50)]
    ac = np.cumprod(1 - np.linspace(1e-4, .02, 1000)); call = lambda m, k, x, att: m(np.concatenate([x, x]), np.full(32, ts[k]), y, att)[:, :3]
    lat, ref, x = [], [], noise
    for k, t in enumerate(ts):
        lat.append(x); out = call(net["float"], k, x, (None,) * 3); ref.append(out); c, u = np.split(out, 2); e = u + f4(4) * (c - u)
        a, p = f4(ac[t]), f4(ac[t - 20] if t >= 20 else 1.); x = np.sqrt(p) * (x - np.sqrt(1 - a) * e) / np.sqrt(a) + np.sqrt(1 - p) * e
    print(f"float trajectory: {time.time() - t0:.0f} s", flush=True)
    # 14 of the 50 steps, weighted by how many each stands for; the error grows towards the end, so the last ones stand for themselves
    part = {**{k: 5 for k in range(2, 40, 5)}, 41: 3, 44: 3, 46: 1, 47: 1, 48: 1, 49: 1}; full = {k: 1 for k in range(50)}
    sig = np.array([np.square(r.astype(float)).sum((1, 2, 3)) for r in ref])
    def measure(scheme, att, steps):     # error energy per step and image (both halves of the batch together)
        return np.array([w * np.square(call(net[scheme], k, lat[k], att).astype(float) - ref[k]).sum((1, 2, 3)).reshape(2, 16).sum(0) for k, w in steps.items()])
    def db(err, steps): return 10 * math.log10(sum(w * sig[k].sum() for k, w in steps.items()) / max(err.sum(), 1e-30))
    def show(scheme, att, err, base, steps):
        name = "float attention" if base is None else f"qk {att[0] or 'float':6s}  P {att[1] or 'float':5s} v {att[2] or 'float':7s}"; line = f"{scheme:5s} {name:38s} {len(steps):2d} steps  SQNR {db(err, steps):6.2f}"
        if base is not None and scheme != "float":
            d = lambda i: 10 * math.log10(err[:, i].sum() / base[:, i].sum()); g = np.random.default_rng(0); bs = [d(g.integers(0, 16, 16)) for _ in range(400)]
            line += f"  loss {d(np.arange(16)):+.3f} dB (+-{np.std(bs):.3f})  last step {10 * math.log10(err[-1].sum() / base[-1].sum()):+.3f}  worst class {max(d([i]) for i in range(16)):+.3f}"
        print(line + f"   [{time.time() - t0:.0f} s]", flush=True)
    N = None; base = {}
    variants = [(q, N, N) for q in ("u8s8", "s8s8", "smooth")] + [(N, p, "chan") for p in ("fixed", "row", "rowq", "row7")] + [(N, "row", v) for v in ("head", "image", "token", "blk16", "blkchan")] + [(N, "rowq", "mean")]
    variants += [("u8s8", p, "chan") for p in ("fixed", "row", "rowq", "row7")] + [("u8s8", "row", v) for v in ("head", "image", "token")] + [("s8s8", "row", "head")]
    finalists = [("u8s8", N, N), (N, "row", "chan"), ("u8s8", "row", "chan"), ("u8s8", "row", "head"), ("u8s8", "fixed", "chan")]      # over all 50 steps
    for s in ("W8A8", "W4A8", "float"):
        for steps in (full, part) if s != "float" else ():
            base[s, len(steps)] = measure(s, (N, N, N), steps); show(s, N, base[s, len(steps)], N, steps)
        for a in variants: show(s, a, measure(s, a, part), base.get((s, 14), np.zeros((1, 16))), part)
        if s != "float":
            for a in finalists: show(s, a, measure(s, a, full), base[s, 50], full)
    print(f"run time {time.time() - t0:.0f} s")
if __name__ == "__main__": main()
