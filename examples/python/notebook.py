"""A tour of the Python package, in notebook cells: Jupyter (with jupytext), VS Code and Spyder show each; python runs all. From the root of the repository."""
# %% A picture. A notebook shows whatever stands on a cell's last line.
import ditq

model = ditq.Model("examples/models/emoji/emoji-w8a8.ditq")
apple = model.generate("red apple", seed=7)
apple.save("apple.png")
apple

# %% Several at once: by name or number, seeds 100, 101, …
basket = model.generate(["red apple", "tangerine", 5, 6, 7, 8], seed=100, steps=20, guidance_scale=3)
basket.grid().save("basket.png")
basket

# %% Pixels are numpy's, without a copy.
pixels = basket.numpy()
print(pixels.shape, pixels.dtype, f"mean {pixels.mean():.1f}")

# %% The float model, in 4 bits: what does that cost?
full = ditq.Model("examples/models/emoji/emoji.safetensors")
small = ditq.quantize(full, weight_bits=4, weight_method="mse")
report = ditq.compare(full, small, steps=5, samples=2)
print(f"{full.info.weights_size:,} → {small.info.weights_size:,} bytes, {report.sqnr_db:.1f} dB")

# %% The layers that suffer most. pandas.DataFrame(report) is the same table.
for row in sorted(report, key=lambda row: row["output_sqnr_db"])[:3]:
    print(f"{row['layer']:<24} step {row['step']}  {row['output_sqnr_db']:.1f} dB")

# %% Step by step, with a look at what is coming.
run = model.run("tangerine", seed=3, steps=10)
while remaining := run.step():
    if remaining == 5:
        preview = model.default_session().decode(run.guess())[0]
preview
