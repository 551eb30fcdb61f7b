// Running the decoder. Three image buffers take turns: the activations, their normalized form, and the branch or result being made.

struct VAEWorkspace {
  fileprivate let images: InlineArray<3, UnsafeMutablePointer<Float>>
  fileprivate let norm: GroupNormBuffers
  /// For the attention in the middle: packed rows, qkv, output.
  fileprivate let packed: RowBuffers
  fileprivate let qkv: UnsafeMutablePointer<Float>
  fileprivate let attended: UnsafeMutablePointer<Float>
  fileprivate let attention: AttentionBuffers

  init(_ arena: inout Arena, _ config: VAEConfig, latentSize: Int) {
    let channels = config.blockChannels, innermost = channels[channels.count - 1], tokens = latentSize * latentSize
    var floats = tokens * max(innermost, config.latentChannels), widest = max(innermost, config.latentChannels), size = latentSize
    for (index, outputs) in channels.reversed().enumerated() {
      let inputs = index == 0 ? innermost : channels[channels.count - index]
      floats = max(floats, size * size * max(inputs, outputs))
      widest = max(widest, inputs, outputs)
      if index < channels.count - 1 {
        size *= 2
        floats = max(floats, size * size * outputs)
      }
    }
    images = [arena.floats(floats), arena.floats(floats), arena.floats(floats)]
    norm = GroupNormBuffers(&arena, height: size, channels: widest)
    packed = RowBuffers(&arena, rows: tokens, inputs: innermost)
    qkv = arena.floats(tokens, 3, innermost)
    attended = arena.floats(tokens, innermost)
    attention = AttentionBuffers(&arena, images: 1, tokens: tokens, heads: 1, headSize: innermost)
  }

  static func scratch(_ config: VAEConfig, latentSize: Int, tileRows: Int) -> Int {
    var most = Executor.attentionScratch(tokens: latentSize * latentSize, headSize: config.blockChannels.last!, tileRows: tileRows)
    most = max(most, Executor.linearScratch(inputs: config.blockChannels.last!, tileRows: tileRows))
    for channels in config.blockChannels + [config.latentChannels] {
      for depth in [channels, 9 * channels] {
        most = max(most, Executor.convolutionScratch(depth: depth, inputs: channels, tileRows: tileRows))
      }
    }
    return most
  }
}

struct VAEForward {
  let decoder: VAEDecoder
  let workspace: VAEWorkspace
  let executor: Executor
  let latentSize: Int

  /// image [H, W, channels], about −1 … 1, of latents [C, S, S] as the transformer leaves them.
  func callAsFunction(
    latents: UnsafePointer<Float>, image: UnsafeMutablePointer<Float>, checkpoint: () throws(DitqError) -> Void
  ) throws(DitqError) {
    var state = State(size: latentSize, x: workspace.images[0], a: workspace.images[1], b: workspace.images[2])
    unscale(latents, into: state.x)
    convolve(&state, decoder.postQuant)
    convolve(&state, decoder.convIn)
    run(&state, decoder.midFirst)
    attend(&state, decoder.midAttention)
    run(&state, decoder.midSecond)
    for block in decoder.upBlocks {
      for resnet in block.resnets {
        try checkpoint()
        run(&state, resnet)
      }
      if let upsampler = block.upsampler {
        state.size *= 2
        convolve(&state, upsampler, doubling: true)
      }
    }
    normalize(state, state.x, decoder.normOut, silu: true)
    executor.convolve(state.a, decoder.convOut, height: state.size, width: state.size, into: image)
  }

  /// The activations x and two free buffers, all of `size` by `size` pixels.
  private struct State {
    var size: Int
    var x: UnsafeMutablePointer<Float>
    var a: UnsafeMutablePointer<Float>
    var b: UnsafeMutablePointer<Float>
  }

  /// (C, S, S) → (S, S, C), divided by the scaling factor.
  private func unscale(_ latents: UnsafePointer<Float>, into x: UnsafeMutablePointer<Float>) {
    let pixels = latentSize * latentSize, channels = decoder.config.latentChannels, factor = Float(decoder.config.scalingFactor)
    for pixel in 0..<pixels {
      for channel in 0..<channels { x[pixel * channels + channel] = latents[channel * pixels + pixel] / factor }
    }
  }

  private func convolve(_ state: inout State, _ convolution: Convolution, doubling: Bool = false) {
    executor.convolve(state.x, convolution, height: state.size, width: state.size, doubling: doubling, into: state.b)
    swap(&state.x, &state.b)
  }

  /// Into buffer a.
  private func normalize(_ state: State, _ x: UnsafePointer<Float>, _ norm: GroupNorm, silu: Bool) {
    executor.groupNorm(x, norm, height: state.size, width: state.size, silu: silu, workspace.norm, into: state.a)
  }

  /// x = shortcut(x) + conv2(SiLU(norm2(conv1(SiLU(norm1(x)))))).
  private func run(_ state: inout State, _ block: ResNetBlock) {
    let size = state.size
    normalize(state, state.x, block.norm1, silu: true)
    executor.convolve(state.a, block.conv1, height: size, width: size, into: state.b)
    normalize(state, state.b, block.norm2, silu: true)
    if let shortcut = block.shortcut { convolve(&state, shortcut) }
    executor.convolve(state.a, block.conv2, height: size, width: size, accumulate: true, into: state.x)
  }

  /// x += out(attention(norm(x))), one head over all pixels.
  private func attend(_ state: inout State, _ attention: VAEAttention) {
    let channels = attention.norm.channels, tokens = state.size * state.size, w = workspace
    normalize(state, state.x, attention.norm, silu: false)
    executor.apply(attention.qkv, to: .plain(state.a, stride: channels), rows: tokens, w.packed, into: w.qkv, stride: 3 * channels)
    let qkv = UnsafePointer(w.qkv)
    let input = AttentionInput(
      query: qkv, key: qkv + channels, value: qkv + 2 * channels, stride: 3 * channels, images: 1, tokens: tokens, heads: 1,
      headSize: channels)
    executor.attend(input, w.attention, onIntegers: false, into: w.attended)
    executor.apply(
      attention.out, to: .plain(w.attended, stride: channels), rows: tokens, w.packed, into: state.x, stride: channels,
      Epilogue(accumulate: true))
  }
}
