// Running the decoder: one convolution after another, each with the GroupNorm and SiLU before it. Three image buffers take turns.

struct VAEForward {
  let decoder: VAEDecoder
  let workspace: VAEWorkspace
  let executor: Executor
  let latentSize: Int
  /// Told what each convolution is given, and the size of its output.
  var tap: ((_ number: Int, _ input: ConvolutionInput, _ size: Int) -> Void)?

  /// image [H, W, channels], about −1 … 1, of latents [C, S, S] as the transformer leaves them. Ends with DITQ_CANCELLED where that is
  /// asked.
  func callAsFunction(latents: UnsafeBufferPointer<Float>, image: UnsafeMutableBufferPointer<Float>) throws(DitqError) {
    let config = decoder.config, size = latentSize * config.upscaling
    precondition(latents.count == config.latentChannels * latentSize * latentSize)
    precondition(image.count == config.imageChannels * size * size)
    var state = State(size: latentSize, images: workspace.images)
    unscale(latents.baseAddress!, into: state.x)
    convolve(state, ConvolutionInput(pixels: state.x), decoder.postQuant, into: state.branch)
    state.turns.takeBranch()
    state.blocks = convolve(state, ConvolutionInput(pixels: state.x), decoder.convIn, into: state.branch)
    state.turns.takeBranch()
    run(&state, decoder.midFirst)
    attend(&state, decoder.midAttention)
    run(&state, decoder.midSecond)
    for block in decoder.upBlocks {
      for resnet in block.resnets {
        try executor.cancellation.check()
        run(&state, resnet)
      }
      if let upsampler = block.upsampler {
        state.size *= 2
        state.blocks = convolve(state, ConvolutionInput(pixels: state.x, doubling: true), upsampler, into: state.other)
        state.turns.takeOther()
      }
    }
    let normal = ConvolutionInput(pixels: state.x, norm: workspace.moments.norm(decoder.normOut, state.blocks, silu: true))
    convolve(state, normal, decoder.convOut, into: image.baseAddress!)
    // Where a layer was left undone the image is worth nothing.
    try executor.cancellation.check()
  }

  /// The activations x of `size` by `size` pixels, by what blocks their moments are known, and the buffers.
  private struct State {
    var size: Int
    let images: InlineArray<3, UnsafeMutablePointer<Float>>
    var turns = ImageTurns()
    var blocks = PixelBlocks(height: 0, width: 0, channels: 0)

    init(size: Int, images: InlineArray<3, UnsafeMutablePointer<Float>>) { (self.size, self.images) = (size, images) }

    var x: UnsafeMutablePointer<Float> { images[turns.x] }
    var branch: UnsafeMutablePointer<Float> { images[turns.branch] }
    var other: UnsafeMutablePointer<Float> { images[turns.other] }
  }

  /// (C, S, S) → (S, S, C), divided by the scaling factor.
  private func unscale(_ latents: UnsafePointer<Float>, into x: UnsafeMutablePointer<Float>) {
    let pixels = latentSize * latentSize, channels = decoder.config.latentChannels, factor = Float(decoder.config.scalingFactor)
    for pixel in 0..<pixels {
      if executor.cancellation.isAsked { return }
      for channel in 0..<channels { x[pixel * channels + channel] = latents[channel * pixels + pixel] / factor }
    }
  }

  /// Convolution `number`; the moments of its output are gathered.
  @discardableResult
  private func convolve(
    _ state: State, _ input: ConvolutionInput, _ number: Int, accumulate: Bool = false, into output: UnsafeMutablePointer<Float>
  ) -> PixelBlocks {
    tap?(number, input, state.size)
    return executor.convolve(
      input, decoder.convolutions[number].convolution, height: state.size, width: state.size, accumulate: accumulate, into: output,
      taps: workspace.taps, moments: workspace.moments)
  }

  /// x = shortcut(x) + conv2(SiLU(norm2(conv1(SiLU(norm1(x)))))).
  private func run(_ state: inout State, _ block: ResNetBlock) {
    let moments = workspace.moments
    let first = ConvolutionInput(pixels: state.x, norm: moments.norm(block.norm1, state.blocks, silu: true))
    let blocks = convolve(state, first, block.conv1, into: state.branch)
    let second = ConvolutionInput(pixels: state.branch, norm: moments.norm(block.norm2, blocks, silu: true))
    if let shortcut = block.shortcut {
      convolve(state, ConvolutionInput(pixels: state.x), shortcut, into: state.other)
      state.turns.takeOther()
    }
    state.blocks = convolve(state, second, block.conv2, accumulate: true, into: state.x)
  }

  /// x += out(attention(norm(x))), one head over all pixels.
  private func attend(_ state: inout State, _ attention: VAEAttention) {
    let channels = attention.norm.channels, tokens = state.size * state.size, w = workspace.attention
    executor.normalize(state.x, pixels: tokens, workspace.moments.norm(attention.norm, state.blocks, silu: false), into: w.normal)
    executor.apply(attention.qkv, to: .plain(w.normal, stride: channels), rows: tokens, w.packed, into: w.qkv, stride: 3 * channels)
    let qkv = UnsafePointer(w.qkv)
    let input = AttentionInput(
      query: qkv, key: qkv + channels, value: qkv + 2 * channels, stride: 3 * channels, images: 1, tokens: tokens, heads: 1,
      headSize: channels)
    executor.attend(input, w.buffers, onIntegers: false, into: w.attended)
    executor.apply(
      attention.out, to: .plain(w.attended, stride: channels), rows: tokens, w.packed, into: state.x, stride: channels,
      Epilogue(accumulate: true))
    executor.gather(state.x, channels: channels, state.blocks, into: workspace.moments)
  }
}
