# find_package(ditq): the imported target ditq::ditq, beside which this file is installed (PREFIX/lib/cmake/ditq).
get_filename_component(ditq_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET ditq::ditq)
  add_library(ditq::ditq SHARED IMPORTED)
  set_target_properties(ditq::ditq PROPERTIES
    IMPORTED_LOCATION "${ditq_prefix}/lib/libditq.so.1"
    IMPORTED_SONAME libditq.so.1
    INTERFACE_INCLUDE_DIRECTORIES "${ditq_prefix}/include")
endif()
unset(ditq_prefix)
