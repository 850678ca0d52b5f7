/* Data with gaps: vectors, indexed blocks, structures, slices of arrays, resized and nested types,
 * received as the same and as other types, and packed. */
#include <stddef.h>

#include "check.h"

enum { SIDE = 200, TAG = 6 };

static double matrix[SIDE][SIDE], copy[SIDE][SIDE];

static double cell(int row, int column, int who)
{
    return who * 1e6 + row * 1000.0 + column;
}

static void give(int who)
{
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++) {
            matrix[row][column] = cell(row, column, who);
            copy[row][column] = -1;
        }
}

/* Sends `type` to the next rank and receives another from the one before. */
static void exchange(MPI_Datatype sent, int sent_count, MPI_Datatype taken, int taken_count)
{
    MPI_Status status;
    int next = (rank + 1) % size, before = (rank + size - 1) % size, count;
    MPI_Sendrecv(matrix, sent_count, sent, next, TAG, copy, taken_count, taken, before, TAG,
                 MPI_COMM_WORLD, &status);
    MPI_Get_count(&status, taken, &count);
    CHECK(count == taken_count, "%d elements, not %d", count, taken_count);
}

static void columns(int before)
{
    MPI_Datatype column, narrow;
    doing = "a column";
    MPI_Type_vector(SIDE, 1, SIDE, MPI_DOUBLE, &column);
    MPI_Type_commit(&column);
    give(rank);
    exchange(column, 1, column, 1);
    for (int row = 0; row < SIDE; row++) {
        CHECK(copy[row][0] == cell(row, 0, before), "row %d is %f", row, copy[row][0]);
        CHECK(copy[row][1] == -1, "written beside the column, in row %d", row);
    }
    doing = "a column that becomes a row";
    give(rank);
    exchange(column, 1, MPI_DOUBLE, SIDE);
    for (int row = 0; row < SIDE; row++)
        CHECK(copy[0][row] == cell(row, 0, before), "place %d is %f", row, copy[0][row]);
    doing = "a transposed matrix";
    MPI_Type_create_resized(column, 0, sizeof(double), &narrow);
    MPI_Type_commit(&narrow);
    give(rank);
    exchange(narrow, SIDE, MPI_DOUBLE, SIDE * SIDE);
    for (int row = 0; row < SIDE; row++)
        for (int place = 0; place < SIDE; place++)
            CHECK(copy[row][place] == cell(place, row, before), "%d, %d is %f", row, place,
                  copy[row][place]);
    MPI_Type_free(&narrow);
    MPI_Type_free(&column);
}

static void slices(int before)
{
    int sizes[] = {SIDE, SIDE}, part[] = {SIDE / 2, SIDE / 3}, from[] = {3, 5};
    MPI_Datatype slice;
    doing = "a slice of an array";
    MPI_Type_create_subarray(2, sizes, part, from, MPI_ORDER_C, MPI_DOUBLE, &slice);
    MPI_Type_commit(&slice);
    give(rank);
    exchange(slice, 1, slice, 1);
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++) {
            int inside = row >= 3 && row < 3 + part[0] && column >= 5 && column < 5 + part[1];
            CHECK(copy[row][column] == (inside ? cell(row, column, before) : -1),
                  "%d, %d is %f", row, column, copy[row][column]);
        }
    MPI_Type_free(&slice);

    enum { PIECES = 60 };
    int lengths[PIECES], places[PIECES];
    doing = "pieces of different lengths";
    for (int piece = 0; piece < PIECES; piece++) {
        lengths[piece] = piece % 7;
        places[piece] = piece * 11;
    }
    MPI_Type_indexed(PIECES, lengths, places, MPI_DOUBLE, &slice);
    MPI_Type_commit(&slice);
    give(rank);
    exchange(slice, 1, slice, 1);
    double *flat = &copy[0][0];
    for (int at = 0; at < PIECES * 11; at++) {
        int inside = at % 11 < lengths[at / 11];
        double wanted = inside ? cell(at / SIDE, at % SIDE, before) : -1;
        CHECK(flat[at] == wanted, "place %d is %f, not %f", at, flat[at], wanted);
    }
    MPI_Type_free(&slice);
}

struct record {
    char letter;
    int numbers[3];
    double fraction;
    char text[5];
};

static void structures(int before)
{
    enum { RECORDS = 3000 };
    static struct record out[RECORDS], in[RECORDS];
    int next = (rank + 1) % size, lengths[] = {1, 3, 1, 5};
    MPI_Aint places[] = {offsetof(struct record, letter), offsetof(struct record, numbers),
                         offsetof(struct record, fraction), offsetof(struct record, text)};
    MPI_Datatype types[] = {MPI_CHAR, MPI_INT, MPI_DOUBLE, MPI_CHAR}, loose, type;
    doing = "structures";
    MPI_Type_create_struct(4, lengths, places, types, &loose);
    MPI_Type_create_resized(loose, 0, sizeof(struct record), &type);
    MPI_Type_commit(&type);
    for (int count = 1; count <= RECORDS; count += 2999) {
        for (int each = 0; each < count; each++)
            out[each] = (struct record){(char)('a' + each % 26), {each, rank, -each}, each / 8.0,
                                        {'e', 'l', 'a', 's', (char)('0' + rank)}};
        memset(in, 0x11, sizeof in);
        MPI_Sendrecv(out, count, type, next, TAG, in, count, type, before, TAG, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        for (int each = 0; each < count; each++) {
            struct record *r = &in[each];
            CHECK(r->letter == 'a' + each % 26 && r->numbers[0] == each &&
                      r->numbers[1] == before && r->numbers[2] == -each &&
                      r->fraction == each / 8.0 && !memcmp(r->text, "elas", 4) &&
                      r->text[4] == '0' + before,
                  "record %d is wrong", each);
            CHECK((&r->letter)[1] == 0x11, "written between the fields of record %d", each);
        }
    }
    MPI_Type_free(&type);
    MPI_Type_free(&loose);
}

static void packed(int before)
{
    char out[200], in[200];
    int number = rank * 3, place = 0, next = (rank + 1) % size;
    double fraction = rank / 4.0;
    doing = "packed data";
    MPI_Pack(&number, 1, MPI_INT, out, sizeof out, &place, MPI_COMM_WORLD);
    MPI_Pack(&fraction, 1, MPI_DOUBLE, out, sizeof out, &place, MPI_COMM_WORLD);
    MPI_Sendrecv(out, place, MPI_PACKED, next, TAG, in, sizeof in, MPI_PACKED, before, TAG,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    place = 0;
    MPI_Unpack(in, sizeof in, &place, &number, 1, MPI_INT, MPI_COMM_WORLD);
    MPI_Unpack(in, sizeof in, &place, &fraction, 1, MPI_DOUBLE, MPI_COMM_WORLD);
    CHECK(number == before * 3 && fraction == before / 4.0, "%d and %f", number, fraction);
}

int main(int argc, char **argv)
{
    start(&argc, &argv);
    int before = (rank + size - 1) % size;
    columns(before);
    slices(before);
    structures(before);
    packed(before);
    return finish();
}
