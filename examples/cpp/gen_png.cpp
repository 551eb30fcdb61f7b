/*
 * gen_png in C++: gen_png MODEL CLASS [SEED [FILE]] draws a picture of a class, given by name or number, with a line of progress.
 * Build: c++ -std=c++17 gen_png.cpp $(pkg-config --cflags --libs ditq) -Wl,-rpath,$(pkg-config --variable=libdir ditq) -o gen_png
 */
#include <cstdlib>
#include <iostream>
#include <string>

#include "ditq.hpp"

int main(int argc, char** argv) try {
  if (argc < 3 || argc > 5) {
    std::cerr << "usage: gen_png MODEL CLASS [SEED [FILE]]\n";
    return 2;
  }
  const std::string name = argv[2], file = argc > 4 ? argv[4] : "out.png";
  const std::uint64_t seed = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 7;

  const auto model = ditq::Model::open(argv[1]);
  auto session = ditq::Session::create(model);
  const bool is_number = !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
  const auto label = is_number ? static_cast<std::int32_t>(std::strtol(name.c_str(), nullptr, 10)) : model.find_class(name);

  ditq::GenerateOptions options;
  options.on_progress = [](const ditq_progress& progress) {
    if (progress.phase == DITQ_PHASE_DENOISE) std::cerr << "\rstep " << progress.done << "/" << progress.total;
    return true;
  };
  const auto image = session.generate(label, seed, options);
  std::cerr << '\n';
  image.save(file, {{"Software", "libditq " + ditq::version()}, {"Class", model.class_name(label).value_or(name)}, {"Seed", std::to_string(seed)}});
  std::cout << file << ": " << model.class_name(label).value_or(name) << ", " << image.width << "x" << image.height << ", seed " << seed << '\n';
} catch (const ditq::Error& error) {
  std::cerr << "gen_png: " << error.what() << '\n';
  return 1;
}
