// The computed embeddings: positions against the table that the official code stored, timesteps against Foundation; and names of layers.

import Foundation
import Testing

@testable import DitqCore

@Suite("Embeddings")
struct EmbeddingTests {
  @Test("the table of positions is the one that the official checkpoint holds")
  func positions() throws {
    let stored = try Fixture.tensors("official-a/model.safetensors").floats("pos_embed")
    let table = Buffer(count: 16 * 144, filledWith: .nan)
    fillPositions(table.floats, grid: 4, width: 144)
    #expect(largestDifference(table.values, stored) <= 1e-6 && table.isIntact)
  }

  @Test("a position is sines and cosines of its column, then of its row", arguments: [(1, 4), (2, 8), (5, 12), (16, 1152)])
  func positionFormula(grid: Int, width: Int) {
    let table = Buffer(count: grid * grid * width, filledWith: .nan), quarter = width / 4
    fillPositions(table.floats, grid: grid, width: width)
    let found = table.values
    for token in 0..<grid * grid {
      let isRight = (0..<width).allSatisfy { i in
        let position = Double(i < width / 2 ? token % grid : token / grid)
        let angle = position * pow(10000, -Double(i % quarter) / Double(quarter))
        return abs(Double(found[token * width + i]) - (i / quarter % 2 == 0 ? sin(angle) : cos(angle))) <= roundoff
      }
      #expect(isRight, "token \(token)")
    }
    #expect(table.isIntact)
  }

  /// The frequency is a float: the system's expf and ours may differ in its last bit, which the timestep enlarges. Two roundings of the
  /// exponent, of at most 9.3, do the same.
  @Test(
    "timestep features are cosines, then sines, of the timestep at falling frequencies", arguments: [128, 127] as [Float],
    [0, 1, 0.5, 37, 500, 999, 1000, -3, 1e6] as [Float])
  func timesteps(divisor: Float, timestep: Float) {
    let features = Buffer(count: 256, filledWith: .nan)
    fillTimestepFeatures(features.floats, timestep: timestep, divisor: divisor)
    let found = features.values
    for i in 0..<128 {
      let angle = Double(timestep) * exp(-log(10000) * Double(i) / Double(divisor))
      let tolerance = roundoff * (1 + abs(angle) * (2 + 3 * 9.3))
      #expect(abs(Double(found[i]) - cos(angle)) <= tolerance && abs(Double(found[128 + i]) - sin(angle)) <= tolerance, "feature \(i)")
    }
    #expect(found[0] == Float(cos(Double(timestep))) && features.isIntact, "the first frequency is exactly 1")
  }

  /// What torch 2.13 has, at features whose frequencies it rounds in its own way, 4, 12 and 106. By ours alone they are off by 0.001 at 20,000, by 0.06 at 1,000,000.
  @Test(
    "features of timesteps beyond all training are torch's",
    arguments: [
      (128, 20000, [-0.3194846, -0.9509288], [12, 106]), (128, -123456.75, [0.3696117, -0.9093114], [12, 106]),
      (128, 1e6, [0.8687574, -0.9997864], [12, 106]), (127, 20000, [-0.8649068, 0.2711468], [4, 12]),
      (127, -123456.75, [0.6861055, -0.727502], [4, 132]), (127, 1e6, [0.3606736, 0.9326921], [4, 132]),
    ] as [(Float, Float, [Float], [Int])])
  func largeTimesteps(divisor: Float, timestep: Float, expected: [Float], features: [Int]) {
    let found = Buffer(count: 256, filledWith: .nan)
    fillTimestepFeatures(found.floats, timestep: timestep, divisor: divisor)
    for (feature, value) in zip(features, expected) { #expect(abs(found.floats[feature] - value) <= 2e-7, "feature \(feature)") }
    #expect(found.isIntact)
  }

  @Test("the two code bases divide by 128 and by 127")
  func divisors() {
    #expect(Compatibility.official.frequencyDivisor == 128 && Compatibility.diffusers.frequencyDivisor == 127)
    #expect(Compatibility.official.rawValue == 1 && Compatibility.diffusers.rawValue == 2, "the numbers of ditq.h")
  }
}

@Suite("Names of layers")
struct CheckpointLayoutTests {
  private let layers = [
    "x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2", "y_embedder.embedding_table", "final_layer.adaLN_modulation.1",
    "final_layer.linear", "pos_embed", "blocks.0.attn.qkv", "blocks.27.mlp.fc2",
  ]

  @Test("the official layout calls every layer by its name")
  func official() {
    for layer in layers { #expect(CheckpointLayout.official.names(of: layer).elementsEqual([layer]) { $0 == $1 }) }
    #expect(CheckpointLayout.official.repeatedNames(block: 3).isEmpty)
  }

  @Test(
    "the diffusers layout has names of its own",
    arguments: [
      ("x_embedder.proj", "pos_embed.proj"),
      ("t_embedder.mlp.0", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1"),
      ("t_embedder.mlp.2", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2"),
      ("y_embedder.embedding_table", "transformer_blocks.0.norm1.emb.class_embedder.embedding_table"),
      ("final_layer.adaLN_modulation.1", "proj_out_1"), ("final_layer.linear", "proj_out_2"),
      ("blocks.3.adaLN_modulation.1", "transformer_blocks.3.norm1.linear"), ("blocks.3.attn.proj", "transformer_blocks.3.attn1.to_out.0"),
      ("blocks.12.mlp.fc1", "transformer_blocks.12.ff.net.0.proj"), ("blocks.27.mlp.fc2", "transformer_blocks.27.ff.net.2"),
    ])
  func diffusers(layer: String, name: String) {
    #expect(CheckpointLayout.diffusers.names(of: layer).elementsEqual([name]) { $0 == $1 })
  }

  @Test("a fused qkv is three tensors there, in this order")
  func fused() {
    let names = CheckpointLayout.diffusers.names(of: "blocks.5.attn.qkv")
    #expect(names.elementsEqual(["q", "k", "v"].map { "transformer_blocks.5.attn1.to_" + $0 }) { $0 == $1 })
  }

  @Test("all blocks but the first repeat the embedders")
  func repeated() {
    #expect(CheckpointLayout.diffusers.repeatedNames(block: 0).isEmpty)
    let pairs = CheckpointLayout.diffusers.repeatedNames(block: 2)
    #expect(pairs.count == 5)
    for (original, copy) in pairs {
      #expect(
        original.starts(withBytesOf: "transformer_blocks.0.norm1.emb.")
          && copy == original.replacingOccurrences(of: "blocks.0", with: "blocks.2"))
    }
  }

  @Test("the fixtures have the tensors of every layer", arguments: [("official-a", "model", 3), ("diffusers-a", "diffusers", 3)])
  func fixtures(folder: String, kind: String, depth: Int) throws {
    let isOfficial = kind == "model"
    let file = isOfficial ? "/model.safetensors" : "/pipeline/transformer/diffusion_pytorch_model.safetensors"
    let tensors = try Fixture.tensors(folder + file), layout: CheckpointLayout = isOfficial ? .official : .diffusers
    let inBlocks = ["adaLN_modulation.1", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
    let all = layers.filter { !$0.starts(withBytesOf: "blocks") && $0 != "pos_embed" && $0 != "y_embedder.embedding_table" }
    for layer in all + (0..<depth).flatMap({ block in inBlocks.map { "blocks.\(block).\($0)" } }) {
      for name in layout.names(of: layer) {
        #expect(tensors.find(name + ".weight") != nil && tensors.find(name + ".bias") != nil, "\(name)")
      }
    }
    for (original, copy) in layout.repeatedNames(block: 1) { #expect(tensors.find(original) != nil && tensors.find(copy) != nil) }
  }
}
