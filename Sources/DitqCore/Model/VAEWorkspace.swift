// The memory of a decoder: three image buffers that take turns, each as large as what comes to stand in it, and what GroupNorm knows of an
// image. Attention works in the third, which is free then.

import CKernels

struct VAEWorkspace {
  let images: InlineArray<3, UnsafeMutablePointer<Float>>
  let moments: ChannelMoments
  /// Transformed taps of the convolution that is running.
  let taps: UnsafeMutablePointer<Float>
  let attention: VAEAttentionWorkspace

  init(_ arena: inout Arena, _ decoder: VAEDecoder, latentSize: Int) {
    let config = decoder.config
    taps = arena.floats(decoder.convolutions.reduce(0) { max($0, $1.convolution.tapFloats) })
    let sizes = VAEWorkspace.sizes(config, latentSize: latentSize)
    images = [arena.floats(sizes.floats[0]), arena.floats(sizes.floats[1]), arena.floats(sizes.floats[2])]
    moments = ChannelMoments(&arena, values: sizes.moments, channels: config.blockChannels.reduce(config.latentChannels, max))
    var third = Arena(UnsafeMutableRawPointer(images[2]))
    attention = VAEAttentionWorkspace(&third, config, tokens: latentSize * latentSize)
  }

  /// Floats of each buffer, and values of an image's moments, by going through the decoder as VAEForward does.
  private static func sizes(_ config: VAEConfig, latentSize: Int) -> (floats: InlineArray<3, Int>, moments: Int) {
    var floats: InlineArray<3, Int> = [0, 0, 0], moments = 0, turns = ImageTurns(), size = latentSize
    func note(_ image: Int, _ channels: Int, inputs: Int) {
      floats[image] = max(floats[image], product([size, size, channels]) ?? Int.max)
      moments = max(moments, PixelBlocks(height: size, width: size, channels: inputs).count * channels)
    }
    var inputs = config.blockChannels.last!
    note(turns.x, max(inputs, config.latentChannels), inputs: config.latentChannels)
    note(turns.branch, max(inputs, config.latentChannels), inputs: config.latentChannels)
    note(turns.branch, inputs, inputs: inputs)
    var arena = Arena()
    _ = VAEAttentionWorkspace(&arena, config, tokens: latentSize * latentSize)
    floats[2] = arena.peak / 4
    for (level, outputs) in config.blockChannels.reversed().enumerated() {
      note(turns.branch, outputs, inputs: inputs)
      note(turns.branch, outputs, inputs: outputs)
      if inputs != outputs {
        note(turns.other, outputs, inputs: inputs)
        turns.takeOther()
      }
      if level < config.blockChannels.count - 1 {
        size *= 2
        note(turns.other, outputs, inputs: outputs)
        turns.takeOther()
      }
      inputs = outputs
    }
    note(turns.branch, config.imageChannels, inputs: inputs)
    return (floats, moments)
  }

  static func scratch(_ decoder: VAEDecoder, latentSize: Int, _ kernels: ditqk_kernels) -> Int {
    let widest = decoder.config.blockChannels.last!
    var most = Executor.attentionScratch(tokens: latentSize * latentSize, headSize: widest, kernels)
    most = max(most, Executor.linearScratch(inputs: widest, kernels))
    for layer in decoder.convolutions { most = max(most, Executor.convolutionScratch(layer.convolution)) }
    return most
  }
}

/// Which image buffer is what: the activations, the branch of a resnet, and one that is free for whatever replaces the activations.
struct ImageTurns {
  private(set) var x = 0
  private(set) var branch = 1
  private(set) var other = 2

  mutating func takeOther() { swap(&x, &other) }
  mutating func takeBranch() { swap(&x, &branch) }
}

/// For the attention in the middle: normalized pixels, packed rows, qkv, output.
struct VAEAttentionWorkspace {
  let normal: UnsafeMutablePointer<Float>
  let packed: RowBuffers
  let qkv: UnsafeMutablePointer<Float>
  let attended: UnsafeMutablePointer<Float>
  let buffers: AttentionBuffers

  init(_ arena: inout Arena, _ config: VAEConfig, tokens: Int) {
    let channels = config.blockChannels.last!
    normal = arena.floats(tokens, channels)
    packed = RowBuffers(&arena, rows: tokens, floatsPerRow: channels)
    qkv = arena.floats(tokens, 3, channels)
    attended = arena.floats(tokens, channels)
    buffers = AttentionBuffers(&arena, images: 1, tokens: tokens, heads: 1, headSize: channels)
  }
}
